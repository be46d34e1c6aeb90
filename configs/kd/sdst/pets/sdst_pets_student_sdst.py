# The student with the general teacher and two specialists.
_base_ = './sdst_pets_student_general.py'

_teacher_ = dict(
    type='mmkd.BatchTeacher', config='{{ fileDirname }}/sdst_pets_general.py', dtype='auto'
)
_place_ = 'work_dirs/sdst/pets/specialist_'
model = dict(
    specialists=dict(
        occlusion=dict(teacher=dict(**_teacher_, weights=f'{_place_}occlusion/epoch_1.pth')),
        scale_variation=dict(
            teacher=dict(**_teacher_, weights=f'{_place_}scale-variation/epoch_1.pth')
        ),
    ),
)
