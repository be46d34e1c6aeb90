_base_ = [
    '../../_base_/models/fairmot_hrnetv2-w18.py',
    '../../_base_/datasets/mot17_half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]
