# The AlexNet tracker, a quarter as wide: 0.40 M parameters.
_base_ = '../../../_base_/models/siamese_rpn_alexnet.py'

model = dict(backbone=dict(width_mult=0.25), head=dict(in_channels=[64]))
