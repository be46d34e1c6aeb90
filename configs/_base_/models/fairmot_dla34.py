_base_ = './fairmot.py'

model = dict(
    backbone=dict(
        type='mmkd.DLA',
        depth=34,
        # the file of the DLA authors, or a copy of it on disk
        init_cfg=dict(
            type='Pretrained',
            checkpoint='http://dl.yf.io/dla/models/imagenet/dla34-ba72cf86.pth',
        ),
    ),
    neck=dict(type='mmkd.DLAUpNeck', in_channels=(64, 128, 256, 512)),
)
