model = dict(
    type='mmkd.FairMOT',
    # FairMOT reads RGB in 0..1 and subtracts no mean.
    data_preprocessor=dict(
        type='mmtrack.TrackDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='mmdet.ResNet',
        depth=34,
        out_indices=(3,),
        norm_eval=False,  # mmdet's default freezes the statistics; FairMOT trains them
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet34'),
    ),
    neck=dict(
        type='mmkd.CTResNetNeck',
        in_channels=512,
        num_deconv_filters=(256, 128, 64),
        num_deconv_kernels=(4, 4, 4),
    ),
    head=dict(type='mmkd.FairMOTHead', num_classes=1, feat_channels=256, embed_dims=128),
    tracker=dict(
        type='mmkd.JDETracker',
        conf_thr=0.4,
        # FairMOT's filter for upright people; other classes leave both out.
        min_area=100,
        max_aspect=1.6,
    ),
)
