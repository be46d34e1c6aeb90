# The original's mix_mot17_half_res34.
_base_ = [
    '../../_base_/models/fairmot_r34.py',
    '../../_base_/datasets/mix_mot17-half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=12)
