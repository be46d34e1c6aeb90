# fairmot_dinov2.py whose teacher was run before:
#     python tools/cache_teacher.py configs/kd/fairmot_dinov2_cached.py
# Four augmentations of each picture, replayed: exact for the tensors that the student sees.
_base_ = './fairmot_dinov2.py'

model = dict(
    teacher=dict(
        _delete_=True,
        type='mmkd.CachedTeacher',
        teacher={{_base_.model.teacher}},
        path='data/cache/fairmot_dinov2_mot17-half',
    )
)
