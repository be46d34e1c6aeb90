_base_ = [
    'mmtrack::_base_/datasets/lasot.py',
    './siamese-rpn_timm-mobilenetv3-h128_8xb28-20e_imagenetvid-imagenetdet-coco_base.py',
]
