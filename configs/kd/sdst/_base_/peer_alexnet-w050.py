# A second student beside AlexNet: half as wide, 1.58 M parameters.
peer = dict(
    type='mmkd.SiamRPN',
    data_preprocessor=dict(type='mmtrack.TrackDataPreprocessor'),
    backbone=dict(type='mmkd.SOTAlexNet', width_mult=0.5),
    neck=None,
    head=dict(
        type='mmkd.SiameseRPNHead',
        anchor_generator=dict(
            type='mmtrack.SiameseRPNAnchorGenerator',
            strides=[8],
            ratios=[0.33, 0.5, 1, 2, 3],
            scales=[8],
        ),
        in_channels=[128],
        weighted_sum=False,
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
                type='mmdet.RandomSampler', num=64, pos_fraction=0.25, add_gt_as_proposals=False
            ),
            num_neg=16,
            exemplar_size=127,
            search_size=255,
        )
    ),
    test_cfg=dict(
        exemplar_size=127,
        search_size=287,
        context_amount=0.5,
        center_size=6,
        rpn=dict(penalty_k=0.16, window_influence=0.40, lr=0.30),
    ),
)
