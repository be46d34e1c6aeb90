# As siamese_rpn_timm-mobilenetv3, neck and head half as wide: 5.00 M parameters, 10.8x smaller than
# R50's 53.95 M.
_base_ = './siamese_rpn_timm-mobilenetv3.py'

model = dict(neck=dict(out_channels=128), head=dict(in_channels=[128, 128, 128]))
