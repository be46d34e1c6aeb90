# PySOT's 50 epochs of siamrpn_alex_dwxcorr: 128 pairs a batch, the rate from 0.005 to 0.01 in five
# epochs, then down to 0.0005.
randomness = dict(seed=1, deterministic=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=50, val_begin=10, val_interval=5)
param_scheduler = [
    dict(
        type='SiamRPNExpLR',
        start_factor=0.5,
        end_factor=1.0,
        by_epoch=True,
        begin=0,
        end=5,
        endpoint=False,
    ),
    dict(
        type='SiamRPNExpLR',
        start_factor=1.0,
        end_factor=0.05,
        by_epoch=True,
        begin=5,
        end=50,
        endpoint=True,
    ),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=10.0, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=128)
