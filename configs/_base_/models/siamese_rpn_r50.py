# SiamRPN++ with ResNet-50: mmtrack's model under the same names, so that its checkpoints load.
# Raw BGR goes in (no mean, no std). 53.95 M parameters.
model = dict(
    type='mmkd.SiamRPN',
    data_preprocessor=dict(type='mmtrack.TrackDataPreprocessor'),
    backbone=dict(
        type='mmkd.SOTResNet',
        depth=50,
        out_indices=(1, 2, 3),
        frozen_stages=4,
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmtracking/pretrained_weights/sot_resnet50.model',
        ),
    ),
    neck=dict(
        type='mmdet.ChannelMapper',
        in_channels=[512, 1024, 2048],
        out_channels=256,
        kernel_size=1,
        norm_cfg=dict(type='BN'),
        act_cfg=None,
    ),
    head=dict(
        type='mmkd.SiameseRPNHead',
        anchor_generator=dict(
            type='mmtrack.SiameseRPNAnchorGenerator',
            strides=[8],
            ratios=[0.33, 0.5, 1, 2, 3],
            scales=[8],
        ),
        in_channels=[256, 256, 256],
        weighted_sum=True,
        bbox_coder=dict(
            type='mmdet.DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[1.0, 1.0, 1.0, 1.0],
        ),
        loss_cls=dict(type='mmdet.CrossEntropyLoss', reduction='sum', loss_weight=1.0),
        loss_bbox=dict(type='mmdet.L1Loss', reduction='sum', loss_weight=1.2),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='mmdet.MaxIoUAssigner',
                pos_iou_thr=0.6,
                neg_iou_thr=0.3,
                min_pos_iou=0.6,
                match_low_quality=False,
                iou_calculator=dict(type='mmdet.BboxOverlaps2D'),
            ),
            sampler=dict(
                type='mmdet.RandomSampler',
                num=64,
                pos_fraction=0.25,
                add_gt_as_proposals=False,
            ),
            num_neg=16,
            exemplar_size=127,
            search_size=255,
        )
    ),
    test_cfg=dict(
        exemplar_size=127,
        search_size=255,
        context_amount=0.5,
        center_size=7,
        rpn=dict(penalty_k=0.05, window_influence=0.42, lr=0.38),
    ),
)
