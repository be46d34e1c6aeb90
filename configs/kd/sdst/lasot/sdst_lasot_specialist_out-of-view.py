# OV: 373 of LaSOT's 1,120 training videos.
_base_ = './sdst_lasot_specialist.py'

train_dataloader = dict(dataset=dict(groups=['out_of_view']))
