# What specialists have in common: the general teacher, trained on with the videos of some
# attributes alone. Its backbone stays as it is, so that few videos do not spoil it.
_base_ = './sdst_lasot_general.py'

model = dict(frozen_modules=['backbone'])
load_from = 'https://download.openmmlab.com/mmtracking/sot/siamese_rpn/siamese_rpn_r50_1x_lasot/siamese_rpn_r50_20e_lasot_20220420_181845-dd0f151e.pth'
train_cfg = dict(max_epochs=5, val_begin=100)
optim_wrapper = dict(optimizer=dict(lr=0.0005))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min=5e-6,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
