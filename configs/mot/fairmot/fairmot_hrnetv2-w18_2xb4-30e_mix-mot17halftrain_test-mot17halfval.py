# The original's mix_mot17_half_hrnet18: the JDE mix with the first halves of MOT17.
_base_ = [
    '../../_base_/models/fairmot_hrnetv2-w18.py',
    '../../_base_/datasets/mix_mot17-half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=8)
