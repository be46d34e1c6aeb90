# The student alone: MobileNetV2 with 192 channels, 6.13 M parameters, 8.8x smaller than R50.
_base_ = [
    '../../../_base_/models/siamese_rpn_mobilenetv2-w10-h192.py',
    '../../../_base_/datasets/lasot_attributes.py',
    '../../../sot/siamese_rpn/_base_/schedule_20e_pretrained.py',
    '../../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=28)
# From ImageNet weights, which are released in the tenth epoch.
model = dict(backbone=dict(frozen_stages=7, norm_eval=True))
custom_hooks = [
    dict(
        type='SiamRPNBackboneUnfreezeHook',
        backbone_start_train_epoch=10,
        backbone_train_layers=['layer3', 'layer4', 'layer5', 'layer6', 'layer7'],
    )
]
