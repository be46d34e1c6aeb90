# As transfers.py, from R50, whose neck has the same 256 channels as an AlexNet has. The response of
# 25 x 25 cells and the features of 31 x 31 meet the student's 17 x 17 and 22 x 22 at the centre of
# the crop, cell by cell.
transfers = [
    dict(name='cls', student='head[0]', loss=dict(type='mmkd.AnchorKLDistillLoss')),
    dict(name='reg', student='head[1]', loss=dict(type='mmkd.AnchorRegressionDistillLoss')),
    dict(name='hard', loss=dict(type='mmkd.AdaptiveHardLoss', margin=0.005), weight=0.1),
    dict(
        name='response',
        student=dict(template='backbone@0', search='backbone@1'),
        teacher=dict(template='neck[1]@0', search='neck[1]@1'),
        loss=dict(type='mmkd.TargetResponseDistillLoss', scale='unit'),
    ),
    dict(
        name='search',
        student='backbone@1',
        teacher='neck[1]@1',
        transform=dict(type='mmkd.FeatureTransform'),
        loss=dict(type='mmkd.CosineDistillLoss'),
    ),
]
