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
        type='mmdet.HRNet',
        norm_eval=False,  # mmdet's default freezes the statistics; FairMOT trains them
        extra=dict(
            stage1=dict(
                num_modules=1,
                num_branches=1,
                block='BOTTLENECK',
                num_blocks=(4,),
                num_channels=(64,),
            ),
            stage2=dict(
                num_modules=1,
                num_branches=2,
                block='BASIC',
                num_blocks=(4, 4),
                num_channels=(18, 36),
            ),
            stage3=dict(
                num_modules=4,
                num_branches=3,
                block='BASIC',
                num_blocks=(4, 4, 4),
                num_channels=(18, 36, 72),
            ),
            stage4=dict(
                num_modules=3,
                num_branches=4,
                block='BASIC',
                num_blocks=(4, 4, 4, 4),
                num_channels=(18, 36, 72, 144),
                multiscale_output=True,
            ),
        ),
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://msra/hrnetv2_w18'),
    ),
    neck=dict(type='mmkd.HRConcatNeck', in_channels=(18, 36, 72, 144)),
    head=dict(type='mmkd.FairMOTHead', num_classes=1, feat_channels=256, embed_dims=128),
    tracker=dict(
        type='mmkd.JDETracker',
        conf_thr=0.4,
        # FairMOT's filter for upright people; other classes leave both out.
        min_area=100,
        max_aspect=1.6,
    ),
)
