# mmtrack's 20 epochs of SiamRPN++ (a test holds the two equal), scored from epoch 10 on.
randomness = dict(seed=1, deterministic=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_begin=10, val_interval=1)
param_scheduler = [
    dict(
        type='SiamRPNExpLR',
        start_factor=0.2,
        end_factor=1.0,
        by_epoch=True,
        begin=0,
        end=5,
        endpoint=False,
    ),
    dict(
        type='SiamRPNExpLR',
        start_factor=1.0,
        end_factor=0.1,
        by_epoch=True,
        begin=5,
        end=20,
        endpoint=True,
    ),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.005, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=10.0, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=224)
