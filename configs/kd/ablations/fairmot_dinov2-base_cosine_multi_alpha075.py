# DINOv2 base, cosine, multi transform, alpha 0.75.
# Written by tools/misc/make_ablation_configs.py; README.md here explains.
_base_ = './_base_/half_mot17.py'

model = dict(
    teacher=dict(arch='base'),
    distill=[
        dict(
            student='neck',
            teacher='last',
            transform=dict(type='mmkd.FeatureTransform', layers='multi'),
            loss=dict(type='mmkd.CosineDistillLoss'),
        )
    ],
    alpha=0.75,
)
