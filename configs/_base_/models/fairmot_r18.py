_base_ = './fairmot.py'

model = dict(
    backbone=dict(
        type='mmdet.ResNet',
        depth=18,
        out_indices=(3,),
        norm_eval=False,  # mmdet's default freezes the statistics; FairMOT trains them
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    neck=dict(
        type='mmkd.CTResNetNeck',
        in_channels=512,
        num_deconv_filters=(256, 128, 64),
        num_deconv_kernels=(4, 4, 4),
    ),
)
