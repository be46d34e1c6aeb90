_base_ = [
    'mmtrack::_base_/datasets/trackingnet.py',
    './siamese-rpn_alexnet_8xb16-50e_imagenetvid-imagenetdet-coco_base.py',
]

val_evaluator = dict(outfile_prefix='results/siamese-rpn_alexnet_trackingnet')
test_evaluator = val_evaluator
