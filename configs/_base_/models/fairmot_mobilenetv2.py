_base_ = './fairmot.py'

model = dict(
    # All maps down to the last: what is not read would be parameters without a gradient.
    backbone=dict(
        type='mmdet.MobileNetV2',
        out_indices=(1, 2, 4, 7),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2'),
    ),
    neck=dict(type='mmkd.TopDownNeck', in_channels=(24, 32, 96, 1280), out_channels=64),
    head=dict(feat_channels=64, embed_dims=64),
)
