# With the general teacher and specialists of the attributes that its paper is about.
_base_ = './sdst_lasot_student_alexnet_general.py'

_teacher_ = dict(
    type='mmkd.BatchTeacher', config='{{ fileDirname }}/sdst_lasot_general.py', dtype='auto'
)
_place_ = 'work_dirs/sdst/lasot/specialist_'
model = dict(
    specialists=dict(
        occlusion=dict(teacher=dict(**_teacher_, weights=f'{_place_}occlusion/epoch_5.pth')),
        fast_motion=dict(teacher=dict(**_teacher_, weights=f'{_place_}fast-motion/epoch_5.pth')),
        motion_blur=dict(teacher=dict(**_teacher_, weights=f'{_place_}motion-blur/epoch_5.pth')),
        out_of_view=dict(teacher=dict(**_teacher_, weights=f'{_place_}out-of-view/epoch_5.pth')),
    ),
)
