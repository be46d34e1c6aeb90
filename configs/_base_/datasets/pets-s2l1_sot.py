# The tracks of PETS09-S2L1 as single-object videos, frames 1-400 to train and 401-600 to test:
#     python tools/dataset_converters/mot2sot.py --input data/pets/train --output data/pets_sot
# docs/results.md says how data/pets is made, docs/sot_synthetic.md what the attributes are.
_base_ = './synthetic_sot.py'

data_root = 'data/pets_sot/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
