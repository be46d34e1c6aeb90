# A specialist: the general teacher, trained on with the videos alone that have it (POC, FOC).
_base_ = './sdst_synthetic_general.py'

train_dataloader = dict(dataset=dict(groups=['occlusion']))
# Of work_dirs/, where the chain puts it.
load_from = 'work_dirs/sdst/synthetic/general/epoch_8.pth'
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
