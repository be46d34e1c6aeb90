# All frames of the training sequences of 2DMOT15 train, and the second halves are scored, as in
# mot17.py.
_base_ = './mot17_half.py'

data_root = 'data/MOT15/'
train_dataloader = dict(dataset=dict(data_root=data_root, ann_file='annotations/train.json'))
val_dataloader = dict(dataset=dict(data_root=data_root, distractors=()))
test_dataloader = val_dataloader
