# FairMOT's fine-tuning: Adam, 20 epochs, a tenth of the rate for the last five.
_base_ = './fairmot_30e.py'

train_cfg = dict(max_epochs=20)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=20, by_epoch=True, milestones=[15], gamma=0.1)
]
