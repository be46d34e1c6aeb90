# All frames of MOT17's training sequences train. The second halves are scored although training
# has seen them: that tells that it works, not how well. mot17_half.py holds them out, and the
# benchmark's server scores the test sequences.
_base_ = './mot17_half.py'

train_dataloader = dict(dataset=dict(ann_file='annotations/train.json'))
