# The student alone: ResNet-18, two levels of 192 channels, 6.00 M parameters, 9.0x below R50.
_base_ = [
    '../../../_base_/models/siamese_rpn_r18-l23-h192.py',
    '../../../_base_/datasets/lasot_attributes.py',
    '../../../sot/siamese_rpn/_base_/schedule_20e.py',
    '../../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=28)
