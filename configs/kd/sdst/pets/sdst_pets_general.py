# The general teacher on the tracks of PETS09-S2L1, from the synthetic chain's weights.
_base_ = [
    '../_base_/siamese_rpn_alexnet-w075.py',
    '../../../_base_/datasets/pets-s2l1_sot.py',
    '../_base_/schedule_scratch.py',
    '../../../_base_/default_runtime.py',
]

train_dataloader = dict(sampler=dict(samples_per_epoch=1600))
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
load_from = 'work_dirs/sdst/synthetic/general/epoch_8.pth'
