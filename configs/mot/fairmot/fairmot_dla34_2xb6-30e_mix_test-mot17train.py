# The original's mix_ft_ch_dla34, its best: the JDE mix, starting from CrowdHuman.
_base_ = [
    '../../_base_/models/fairmot_dla34.py',
    '../../_base_/datasets/mix.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=12)
# Of the CrowdHuman config; the original's mix_dla34 starts from ctdet_coco_dla_2x_mmkd.pth.
load_from = 'work_dirs/fairmot_dla34_2xb4-60e_crowdhuman_test-mot17halfval/epoch_60.pth'
