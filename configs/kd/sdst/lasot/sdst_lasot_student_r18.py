# The student alone: ResNet-18, two levels of 192 channels, 6.00 M parameters, 9.0x below R50.
_base_ = [
    '../../../_base_/models/siamese_rpn_r18-l23-h192.py',
    '../../../_base_/datasets/lasot_attributes.py',
    '../../../sot/siamese_rpn/_base_/schedule_20e_pretrained.py',
    '../../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=28)
# From ImageNet weights, which are released in the tenth epoch.
model = dict(backbone=dict(frozen_stages=3, norm_eval=True))
custom_hooks = [
    dict(
        type='SiamRPNBackboneUnfreezeHook',
        backbone_start_train_epoch=10,
        backbone_train_layers=['layer2', 'layer3'],
    )
]
