# FairMOT's training on CrowdHuman: Adam, 60 epochs, a tenth of the rate for the last ten.
_base_ = './fairmot_30e.py'

train_cfg = dict(max_epochs=60, val_interval=10)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=60, by_epoch=True, milestones=[50], gamma=0.1)
]
