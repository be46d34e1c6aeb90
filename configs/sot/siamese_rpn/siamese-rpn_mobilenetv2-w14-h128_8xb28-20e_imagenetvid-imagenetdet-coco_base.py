_base_ = [
    '../../_base_/models/siamese_rpn_mobilenetv2-w14-h128.py',
    './_base_/pairs.py',
    './_base_/schedule_20e.py',
    '../../_base_/default_runtime.py',
]
