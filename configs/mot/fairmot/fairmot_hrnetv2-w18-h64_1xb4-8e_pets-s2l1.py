# Small enough for a processor: the whole backbone at 384x288, heads of a quarter's width, trained
# from scratch on frames 1-400 of PETS09-S2L1 and scored on 401-600. docs/results.md has the run.
_base_ = './fairmot_hrnetv2-w18_8xb2-30e_mot17halftrain_test-mot17halfval.py'

data_root = 'data/pets/'
input_scale = (384, 288)
_base_.train_pipeline[3].scale = input_scale
_base_.test_pipeline[2].scale = input_scale

model = dict(backbone=dict(init_cfg=None), head=dict(feat_channels=64))
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        data_root=data_root, ann_file='annotations/train.json', pipeline=_base_.train_pipeline
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root, ann_file='annotations/val.json', pipeline=_base_.test_pipeline
    ),
)
test_dataloader = val_dataloader

# From scratch, a larger step than FairMOT's, which starts from ImageNet.
train_cfg = dict(max_epochs=8, val_interval=8)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=8, by_epoch=True, milestones=[6], gamma=0.1),
]
default_hooks = dict(logger=dict(interval=10))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
channels_last = True
