# MB: 360 of LaSOT's 1,120 training videos.
_base_ = './specialist.py'

train_dataloader = dict(dataset=dict(groups=['motion_blur']))
