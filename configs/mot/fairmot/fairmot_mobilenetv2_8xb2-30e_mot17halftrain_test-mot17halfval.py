# The light student, for cameras and other small machines.
_base_ = [
    '../../_base_/models/fairmot_mobilenetv2.py',
    '../../_base_/datasets/mot17_half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]
