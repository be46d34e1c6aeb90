# The smallest of the original's architectures.
_base_ = [
    '../../_base_/models/fairmot_r18.py',
    '../../_base_/datasets/mot17_half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]
