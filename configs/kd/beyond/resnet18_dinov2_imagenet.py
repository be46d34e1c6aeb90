# DINOv2 distilled into mmpretrain's ResNet-18 on ImageNet: no tracking involved.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'

model = dict(
    _delete_=True,
    type='mmkd.FeatureDistiller',
    student={{_base_.model}},
    teacher=dict(type='mmkd.DINOv2Teacher', arch='base', weights='timm'),
    distill=[dict(student='backbone', teacher='last')],  # its last stage, 7x7, meets 16x16
)
