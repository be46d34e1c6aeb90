_base_ = [
    '../../_base_/models/siamese_rpn_alexnet.py',
    './_base_/pairs.py',
    './_base_/schedule_50e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=16)
# Does nothing unless model.backbone.frozen_stages=5, which ImageNet weights are for.
custom_hooks = [
    dict(
        type='SiamRPNBackboneUnfreezeHook',
        backbone_start_train_epoch=10,
        backbone_train_layers=['layer4', 'layer5'],
    )
]
