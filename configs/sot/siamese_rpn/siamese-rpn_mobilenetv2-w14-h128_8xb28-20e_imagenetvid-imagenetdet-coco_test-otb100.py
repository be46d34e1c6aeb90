_base_ = [
    'mmtrack::_base_/datasets/otb100.py',
    './siamese-rpn_mobilenetv2-w14-h128_8xb28-20e_imagenetvid-imagenetdet-coco_base.py',
]
