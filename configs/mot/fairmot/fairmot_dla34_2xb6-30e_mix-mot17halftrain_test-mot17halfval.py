# The original's mix_mot17_half_dla34: the JDE mix with the first halves of MOT17.
_base_ = [
    '../../_base_/models/fairmot_dla34.py',
    '../../_base_/datasets/mix_mot17-half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=12)
load_from = 'checkpoints/ctdet_coco_dla_2x_mmkd.pth'  # see ..._mot17halftrain_...
