# All frames of the training sequences of MOT20 train, and the second halves are scored, as in
# mot17.py.
_base_ = './mot17_half.py'

data_root = 'data/MOT20/'
# The original clips boxes here, and only here.
_base_.train_pipeline[4].clip_border = True
train_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file='annotations/train.json', pipeline=_base_.train_pipeline
    )
)
distractors = (*_base_.distractors, 'non_mot_vehicle')
val_dataloader = dict(dataset=dict(data_root=data_root, distractors=distractors))
test_dataloader = val_dataloader
