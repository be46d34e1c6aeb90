# The student alone: AlexNet, 6.25 M parameters, 8.6x smaller than the teacher.
_base_ = [
    '../../../_base_/models/siamese_rpn_alexnet.py',
    '../../../_base_/datasets/lasot_attributes.py',
    '../../../sot/siamese_rpn/_base_/schedule_50e.py',
    '../../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=16)
