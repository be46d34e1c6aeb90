# As fairmot_hrnetv2-w18-h64_1xb4-8e_pets-s2l1, with another backbone, and plain
# convolutions instead of deformable ones, which processors compute several times slower.
_base_ = [
    '../../_base_/models/fairmot_r18.py',
    '../../_base_/datasets/pets-s2l1.py',
    '../../_base_/schedules/fairmot_8e_scratch.py',
    '../../_base_/default_runtime.py',
]

model = dict(backbone=dict(init_cfg=None), neck=dict(use_dcn=False), head=dict(feat_channels=64))
default_hooks = dict(logger=dict(interval=10))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
channels_last = True
