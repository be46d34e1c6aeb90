# DINOv2 distilled into mmdet's RetinaNet-R18 on COCO: no tracking involved.
_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'

model = dict(
    _delete_=True,
    type='mmkd.FeatureDistiller',
    student={{_base_.model}},
    teacher=dict(type='mmkd.DINOv2Teacher', arch='base', weights='timm'),
    distill=[dict(student='neck[1]', teacher='last')],  # P4: stride 16, nearest to DINOv2's 14
)
