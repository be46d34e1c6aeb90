# The PETS09-S2L1 sequence, trained on frames 1-400 and scored on 401-600, small enough for a
# processor. docs/results.md says how the annotation files are made.
_base_ = './mot17_half.py'

data_root = 'data/pets/'
input_scale = (384, 288)
_base_.train_pipeline[3].scale = input_scale
_base_.test_pipeline[2].scale = input_scale

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
        distractors=(),
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
