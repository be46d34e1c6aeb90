# SiamRPN++ with a network of timm, here MobileNetV3-Large; any that timm can dilate will do, with
# its three widths as the neck's in_channels. 10.76 M parameters, 5.0x smaller than R50's 53.95 M.
_base_ = './siamese_rpn_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmkd.SOTTimmBackbone',
        name='mobilenetv3_large_100',
        out_indices=(2, 3, 4),
        # ImageNet's, downloaded by timm when a training starts; a file, or None for random ones.
        weights='timm',
    ),
    neck=dict(in_channels=[40, 112, 960]),
)
