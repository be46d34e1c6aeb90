_base_ = [
    'mmtrack::_base_/datasets/lasot.py',
    './siamese-rpn_r18-l23-h192_8xb28-20e_imagenetvid-imagenetdet-coco_base.py',
]
