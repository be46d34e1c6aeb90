# The original's mot15_ft_mix_dla34: fine-tunes the model of the mix.
_base_ = [
    '../../_base_/models/fairmot_dla34.py',
    '../../_base_/datasets/mot15.py',
    '../../_base_/schedules/fairmot_20e.py',
    '../../_base_/default_runtime.py',
]

model = dict(tracker=dict(conf_thr=0.3))
train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=12)
load_from = 'work_dirs/fairmot_dla34_2xb6-30e_mix_test-mot17train/epoch_30.pth'
