# SiamRPN++ with ResNet-18 on normalised RGB. 20.29 M parameters, 2.7x smaller than R50's 53.95 M.
_base_ = './siamese_rpn_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmkd.SOTResNet',
        depth=18,
        out_indices=(1, 2, 3),
        input_norm=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
