# The student alone: MobileNetV2 with 192 channels, 6.13 M parameters, 8.8x smaller than R50.
_base_ = [
    '../../../_base_/models/siamese_rpn_mobilenetv2-w10-h192.py',
    '../../../_base_/datasets/lasot_attributes.py',
    '../../../sot/siamese_rpn/_base_/schedule_20e.py',
    '../../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=28)
