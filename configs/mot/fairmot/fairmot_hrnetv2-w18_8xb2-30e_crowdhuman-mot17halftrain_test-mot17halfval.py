# CrowdHuman, where every box is an identity of its own, and the first halves of MOT17.
_base_ = [
    '../../_base_/models/fairmot_hrnetv2-w18.py',
    '../../_base_/datasets/crowdhuman_mot17-half.py',
    '../../_base_/schedules/fairmot_30e.py',
    '../../_base_/default_runtime.py',
]
