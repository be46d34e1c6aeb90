# Eight short epochs from scratch, on a processor: a larger step than FairMOT's, which starts from
# ImageNet or COCO.
_base_ = './fairmot_30e.py'

train_cfg = dict(max_epochs=8, val_interval=8)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=8, by_epoch=True, milestones=[6], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=4)
