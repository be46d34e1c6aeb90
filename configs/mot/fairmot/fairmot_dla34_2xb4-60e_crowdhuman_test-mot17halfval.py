# The original's crowdhuman_dla34: every box of CrowdHuman is an identity of its own.
_base_ = [
    '../../_base_/models/fairmot_dla34.py',
    '../../_base_/datasets/crowdhuman.py',
    '../../_base_/schedules/fairmot_60e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=8)
load_from = 'checkpoints/ctdet_coco_dla_2x_mmkd.pth'  # see ..._mot17halftrain_...
