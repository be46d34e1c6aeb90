# mmtrack's config and checkpoint with mmkd's tracker: the same weights, losses and boxes. mmkd's
# backbone stays unfrozen once the hook has unfrozen it.
_base_ = (
    'mmtrack::sot/siamese_rpn/siamese-rpn_r50_8xb16-20e_imagenetvid-imagenetdet-coco_test-otb100.py'
)

runner_type = 'mmkd.TrackRunner'
model = dict(
    type='mmkd.SiamRPN', backbone=dict(type='mmkd.SOTResNet'), head=dict(type='mmkd.SiameseRPNHead')
)
auto_scale_lr = dict(enable=False, base_batch_size=128)
