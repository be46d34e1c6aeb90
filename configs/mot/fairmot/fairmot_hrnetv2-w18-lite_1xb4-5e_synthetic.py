# The quickstart's student: HRNetV2-W18 with one module a stage and two blocks a branch, narrow
# heads, from scratch on sequences that tools/dataset_converters/make_synthetic_mot.py draws.
_base_ = './fairmot_hrnetv2-w18_8xb2-30e_mot17halftrain_test-mot17halfval.py'

data_root = 'data/quickstart/'
input_scale = (448, 256)
_base_.train_pipeline[3].scale = input_scale
_base_.test_pipeline[2].scale = input_scale

model = dict(
    backbone=dict(
        extra=dict(
            stage1=dict(num_blocks=(1,)),
            stage2=dict(num_blocks=(2, 2)),
            stage3=dict(num_modules=1, num_blocks=(2, 2, 2)),
            stage4=dict(num_modules=1, num_blocks=(2, 2, 2, 2)),
        ),
        init_cfg=None,
    ),
    head=dict(feat_channels=64, embed_dims=64),
)
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
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img_path='val'),
        distractors=(),
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader

# From scratch, a larger step than FairMOT's, which starts from ImageNet.
train_cfg = dict(max_epochs=5, val_begin=100)  # the quickstart scores in a stage of its own
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=30, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=5, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(max_keep_ckpts=1))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
channels_last = True
