# As schedule_20e, for a backbone that starts from ImageNet weights: it learns at a tenth of the
# rate, and not before the unfreeze hook of the config says so (DDP has to know).
_base_ = './schedule_20e.py'

find_unused_parameters = True
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1, decay_mult=1.0)))
)
