# DINOv2 base, cosine, single transform, alpha 0.5, as the published code has it.
# Written by tools/misc/make_ablation_configs.py; README.md here explains.
_base_ = './_base_/half_mot17.py'

model = dict(
    teacher=dict(arch='base', input_size=(1088, 608)),
    distill=[
        dict(
            student='neck',
            teacher='last',
            transform=dict(type='mmkd.FeatureTransform'),
            loss=dict(type='mmkd.CosineDistillLoss', flatten=True),
        )
    ],
    alpha=0.5,
    mask=False,
)
