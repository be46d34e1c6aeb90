# The AlexNet tracker, three quarters as wide: 3.5 M parameters. Large enough to teach the quarter
# that a processor trains in minutes.
_base_ = '../../../_base_/models/siamese_rpn_alexnet.py'

model = dict(backbone=dict(width_mult=0.75), head=dict(in_channels=[192]))
