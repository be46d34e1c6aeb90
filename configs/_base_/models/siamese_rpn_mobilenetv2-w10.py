# SiamRPN++ with MobileNetV2 (1.0) as ImageNet weights are published for it. 9.43 M parameters, 5.7x
# smaller than R50's 53.95 M.
_base_ = './siamese_rpn_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmkd.SOTMobileNetV2',
        width_mult=1.0,
        out_indices=(3, 5, 7),
        style='imagenet',
        input_norm=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://mobilenet_v2'),
    ),
    neck=dict(in_channels=[32, 96, 320]),
)
