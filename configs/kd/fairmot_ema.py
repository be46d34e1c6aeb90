# FairMOT learns from its own moving average: no other network, nothing to download. The average of
# the first steps knows nothing yet, so its share grows slowly.
_base_ = '../mot/fairmot/fairmot_hrnetv2-w18_8xb2-30e_mot17halftrain_test-mot17halfval.py'

model = dict(
    _delete_=True,
    type='mmkd.FeatureDistiller',
    student={{_base_.model}},
    teacher=dict(type='mmkd.EMATeacher'),
    distill=[
        dict(
            student='head.heatmap',
            teacher='head.heatmap',
            transform=None,
            loss=dict(type='mmkd.HeatmapDistillLoss'),
        ),
        dict(
            student='head.embedding',
            teacher='head.embedding',
            transform=None,
            loss=dict(type='mmkd.EmbeddingDistillLoss', mode='cosine'),
        ),
    ],
    alpha=dict(value=0.25, warmup_epochs=5),
)
