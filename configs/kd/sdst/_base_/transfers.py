# What goes from a teacher to a SiamRPN++ student, with the weights of distilled Siamese networks
# (arXiv 1907.10586, as danier97/CFKD has them: soft 1, hard 0.1, target response 100). The
# published target response is the square of channel sums, whose size is the features' own; with
# scale='unit' only the pattern is compared, networks of other widths are told the same, and 1 is
# of the size of the other terms.
transfers = [
    dict(name='cls', student='head[0]', loss=dict(type='mmkd.AnchorKLDistillLoss')),
    dict(name='reg', student='head[1]', loss=dict(type='mmkd.AnchorRegressionDistillLoss')),
    dict(name='hard', loss=dict(type='mmkd.AdaptiveHardLoss', margin=0.005), weight=0.1),
    dict(
        name='response',
        student=dict(template='backbone@0', search='backbone@1'),
        loss=dict(type='mmkd.TargetResponseDistillLoss', scale='unit'),
    ),
    # Features through a trained 1x1 projection, as widths differ.
    dict(name='search', student='backbone@1', loss=dict(type='mmkd.CosineDistillLoss')),
]
