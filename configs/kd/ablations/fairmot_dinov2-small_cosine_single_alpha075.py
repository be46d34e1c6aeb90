# DINOv2 small, cosine, single transform, alpha 0.75.
# Written by tools/misc/make_ablation_configs.py; README.md here explains.
_base_ = './_base_/half_mot17.py'

model = dict(
    teacher=dict(arch='small'),
    distill=[
        dict(
            student='neck',
            teacher='last',
            transform=dict(type='mmkd.FeatureTransform'),
            loss=dict(type='mmkd.CosineDistillLoss'),
        )
    ],
    alpha=0.75,
)
