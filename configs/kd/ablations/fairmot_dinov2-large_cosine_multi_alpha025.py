# DINOv2 large, cosine, multi transform, alpha 0.25.
# Written by tools/misc/make_ablation_configs.py; README.md here explains.
_base_ = './_base_/half_mot17.py'

model = dict(
    teacher=dict(arch='large'),
    distill=[
        dict(
            student='neck',
            teacher='last',
            transform=dict(type='mmkd.FeatureTransform', layers='multi'),
            loss=dict(type='mmkd.CosineDistillLoss'),
        )
    ],
    alpha=0.25,
)
