# The student with the general teacher and specialists of what is hard.
_base_ = './sdst_synthetic_student_general.py'

_specialist_ = dict(
    type='mmkd.BatchTeacher', config='{{ fileDirname }}/sdst_synthetic_general.py', dtype='auto'
)
model = dict(
    specialists=dict(
        occlusion=dict(
            teacher=dict(
                **_specialist_, weights='work_dirs/sdst/synthetic/specialist_occlusion/epoch_1.pth'
            )
        ),
        fast_motion=dict(
            teacher=dict(
                **_specialist_,
                weights='work_dirs/sdst/synthetic/specialist_fast-motion/epoch_1.pth',
            )
        ),
        similar_object=dict(
            teacher=dict(
                **_specialist_,
                weights='work_dirs/sdst/synthetic/specialist_similar-object/epoch_1.pth',
            )
        ),
    ),
)
