_base_ = [
    '../../_base_/models/siamese_rpn_r18-l23-h192.py',
    './_base_/pairs.py',
    './_base_/schedule_20e_pretrained.py',
    '../../_base_/default_runtime.py',
]

model = dict(backbone=dict(frozen_stages=3, norm_eval=True))
custom_hooks = [
    dict(
        type='SiamRPNBackboneUnfreezeHook',
        backbone_start_train_epoch=10,
        backbone_train_layers=['layer2', 'layer3'],
    )
]
