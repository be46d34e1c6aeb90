# fairmot_dinov2.py with the features of each whole picture and of its mirror image, moved as
# augmentation moves the picture: approximate, small, and any augmentation is a new one.
_base_ = './fairmot_dinov2.py'

model = dict(
    teacher=dict(
        _delete_=True,
        type='mmkd.CachedTeacher',
        teacher={{_base_.model.teacher}},
        path='data/cache/fairmot_dinov2_mot17-half_warp',
        mode='warp',
        storage='pca-128-int8',
    )
)
