_base_ = [
    'mmtrack::_base_/datasets/otb100.py',
    './siamese-rpn_alexnet_8xb16-50e_imagenetvid-imagenetdet-coco_base.py',
]
