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
        type='mmkd.DLA',
        depth=34,
        # the file of the DLA authors, or a copy of it on disk
        init_cfg=dict(
            type='Pretrained',
            checkpoint='http://dl.yf.io/dla/models/imagenet/dla34-ba72cf86.pth',
        ),
    ),
    neck=dict(type='mmkd.DLAUpNeck', in_channels=(64, 128, 256, 512)),
    head=dict(type='mmkd.FairMOTHead', num_classes=1, feat_channels=256, embed_dims=128),
    tracker=dict(
        type='mmkd.JDETracker',
        conf_thr=0.4,
        # FairMOT's filter for upright people; other classes leave both out.
        min_area=100,
        max_aspect=1.6,
    ),
)
