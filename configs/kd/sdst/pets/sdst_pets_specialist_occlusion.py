# A specialist: the general teacher, trained on with the tracks alone that have it (POC, FOC).
_base_ = './sdst_pets_general.py'

train_dataloader = dict(dataset=dict(groups=['occlusion']))
load_from = 'work_dirs/sdst/pets/general/epoch_2.pth'
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
