# The original's mot17_dla34: all of MOT17, for its test server.
_base_ = [
    '../../_base_/models/fairmot_dla34.py',
    '../../_base_/datasets/mot17.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=12)
load_from = 'checkpoints/ctdet_coco_dla_2x_mmkd.pth'  # see ..._mot17halftrain_...
