# DanceTrack: people who look alike. Dancers are wider than pedestrians: no filter of boxes.
_base_ = [
    '../../_base_/models/fairmot_dla34.py',
    '../../_base_/datasets/dancetrack.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(tracker=dict(min_area=0, max_aspect=None))
train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=12)
load_from = 'checkpoints/ctdet_coco_dla_2x_mmkd.pth'  # see ..._mot17halftrain_...
