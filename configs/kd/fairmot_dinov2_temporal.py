# fairmot_dinov2.py, and who is who from frame to frame: what DINOv2 sees in the boxes of an
# identity attracts the student's boxes of it in the other frame and repels those of others.
_base_ = './fairmot_dinov2.py'

model = dict(
    distill=[
        dict(student='neck', teacher='last', name='places'),
        dict(
            student='neck',
            teacher='last',
            name='identities',
            loss=dict(type='mmkd.TemporalRelationalLoss'),
            weight=dict(value=0.1, warmup_epochs=1),
        ),
    ]
)
# Two frames of one video stand side by side in every batch.
train_dataloader = dict(
    batch_size=2, sampler=dict(_delete_=True, type='mmkd.ClipSampler', frames=2, max_gap=10)
)
