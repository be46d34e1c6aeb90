# What all FairMOT models share: input, heads and tracker. The backbone and the neck are the files'
# beside this one.
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
    head=dict(type='mmkd.FairMOTHead', num_classes=1, feat_channels=256, embed_dims=128),
    tracker=dict(
        type='mmkd.JDETracker',
        conf_thr=0.4,
        # FairMOT's filter for upright people; other classes leave both out.
        min_area=100,
        max_aspect=1.6,
    ),
)
