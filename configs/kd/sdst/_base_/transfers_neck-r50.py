# As transfers.py, for students with a neck of their own, of another width than R50's 256 channels;
# maps are as large. The middle level stands for all.
transfers = [
    dict(name='cls', student='head[0]', loss=dict(type='mmkd.AnchorKLDistillLoss')),
    dict(name='reg', student='head[1]', loss=dict(type='mmkd.AnchorRegressionDistillLoss')),
    dict(name='hard', loss=dict(type='mmkd.AdaptiveHardLoss', margin=0.005), weight=0.1),
    dict(
        name='response',
        student=dict(template='neck[1]@0', search='neck[1]@1'),
        loss=dict(type='mmkd.TargetResponseDistillLoss', scale='unit'),
    ),
    dict(name='search', student='neck[1]@1', loss=dict(type='mmkd.CosineDistillLoss')),
]
