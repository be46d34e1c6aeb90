# The general teacher on LaSOT: SiamRPN++ R50 as mmtrack has trained it, scored for each attribute.
# The chain tests it with mmtrack's checkpoint and does not train it.
_base_ = [
    '../../../_base_/models/siamese_rpn_r50.py',
    '../../../_base_/datasets/lasot_attributes.py',
    '../../../sot/siamese_rpn/_base_/schedule_20e.py',
    '../../../_base_/default_runtime.py',
]
