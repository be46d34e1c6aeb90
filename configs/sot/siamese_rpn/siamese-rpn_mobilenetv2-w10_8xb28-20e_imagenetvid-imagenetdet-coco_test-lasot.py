_base_ = [
    'mmtrack::_base_/datasets/lasot.py',
    '../../_base_/models/siamese_rpn_mobilenetv2-w10.py',
    './_base_/pairs.py',
    './_base_/schedule_20e_pretrained.py',
    '../../_base_/default_runtime.py',
]

model = dict(backbone=dict(frozen_stages=7, norm_eval=True))
custom_hooks = [
    dict(
        type='SiamRPNBackboneUnfreezeHook',
        backbone_start_train_epoch=10,
        backbone_train_layers=['layer3', 'layer4', 'layer5', 'layer6', 'layer7'],
    )
]
