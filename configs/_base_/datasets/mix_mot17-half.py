# The original's MIX with the first halves of MOT17 instead of all frames, so that the second
# halves, which are scored, are held out.
_base_ = './mix.py'

_base_.train_dataloader.dataset.datasets[0].ann_file = 'annotations/half-train.json'
