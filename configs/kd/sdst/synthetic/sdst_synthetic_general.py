# The general teacher of the synthetic chain: all videos, from scratch.
_base_ = [
    '../_base_/siamese_rpn_alexnet-w075.py',
    '../../../_base_/datasets/synthetic_sot.py',
    '../_base_/schedule_scratch.py',
    '../../../_base_/default_runtime.py',
]

train_cfg = dict(max_epochs=8)
