# DanceTrack: 40 sequences train, 25 others are scored.
_base_ = './mot17_half.py'

data_root = 'data/DanceTrack/'
train_dataloader = dict(dataset=dict(data_root=data_root, ann_file='annotations/train.json'))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img_path='val'),
        distractors=(),
    )
)
test_dataloader = val_dataloader
