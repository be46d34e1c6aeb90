# The wider HRNet on the first halves of MOT17; teacher or student.
_base_ = [
    '../../_base_/models/fairmot_hrnetv2-w32.py',
    '../../_base_/datasets/mot17_half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]
