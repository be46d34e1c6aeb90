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
    # All maps down to the last: what is not read would be parameters without a gradient.
    backbone=dict(
        type='mmdet.MobileNetV2',
        out_indices=(1, 2, 4, 7),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2'),
    ),
    neck=dict(type='mmkd.TopDownNeck', in_channels=(24, 32, 96, 1280), out_channels=64),
    head=dict(type='mmkd.FairMOTHead', num_classes=1, feat_channels=64, embed_dims=64),
    tracker=dict(
        type='mmkd.JDETracker',
        conf_thr=0.4,
        # FairMOT's filter for upright people; other classes leave both out.
        min_area=100,
        max_aspect=1.6,
    ),
)
