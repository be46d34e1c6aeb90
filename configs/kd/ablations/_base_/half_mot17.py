# What the ablations of arXiv 2407.18288 share, as its published jobs ran them: ten epochs on the
# first halves of MOT17, one image a step on one GPU, Adam at a constant 1e-4, and one score at the
# end, on the second halves.
_base_ = '../../fairmot_dinov2.py'

train_dataloader = dict(batch_size=1)
train_cfg = dict(max_epochs=10, val_interval=10)
param_scheduler = []
auto_scale_lr = dict(base_batch_size=1)
