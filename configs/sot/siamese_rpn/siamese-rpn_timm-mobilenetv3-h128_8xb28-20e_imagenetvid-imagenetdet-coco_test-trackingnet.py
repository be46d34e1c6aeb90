_base_ = [
    'mmtrack::_base_/datasets/trackingnet.py',
    './siamese-rpn_timm-mobilenetv3-h128_8xb28-20e_imagenetvid-imagenetdet-coco_base.py',
]

val_evaluator = dict(outfile_prefix='results/siamese-rpn_timm-mobilenetv3-h128_trackingnet')
test_evaluator = val_evaluator
