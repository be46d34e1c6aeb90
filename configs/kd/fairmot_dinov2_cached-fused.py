# fairmot_dinov2_cached.py with augmentation in one step: one decoding, reduced where it may be, and
# one warp. Boxes are exact where the original rounds in ways of its own.
#     python tools/cache_teacher.py configs/kd/fairmot_dinov2_cached-fused.py
_base_ = './fairmot_dinov2_cached.py'

train_pipeline = [
    dict(type='mmtrack.LoadTrackAnnotations', with_instance_id=True),
    dict(type='mmkd.FusedAugment', scale=_base_.input_scale),
    dict(
        type='mmtrack.PackTrackInputs', pack_single_img=True, meta_keys=('homography_matrix', 'fps')
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(teacher=dict(path='data/cache/fairmot_dinov2_mot17-half_fused'))
