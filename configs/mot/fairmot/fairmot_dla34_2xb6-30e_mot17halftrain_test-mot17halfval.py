# The original's mot17_half_dla34, its reference for ablations.
_base_ = [
    '../../_base_/models/fairmot_dla34.py',
    '../../_base_/datasets/mot17_half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=12)
# CenterNet's DLA-34 of COCO, which the original starts from, converted by
# tools/model_converters/fairmot2mmkd.py. None starts from ImageNet, and ends lower.
load_from = 'checkpoints/ctdet_coco_dla_2x_mmkd.pth'
