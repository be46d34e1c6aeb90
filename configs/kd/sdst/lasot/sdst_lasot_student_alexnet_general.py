# With the general teacher only: mmtrack's R50.
_base_ = ['./sdst_lasot_student_alexnet.py', '../_base_/transfers_alexnet-r50.py']

model = dict(
    _delete_=True,
    type='mmkd.SpecializedTeacherDistiller',
    student={{_base_.model}},
    general=dict(
        type='mmkd.BatchTeacher',
        config='{{ fileDirname }}/sdst_lasot_general.py',
        weights='https://download.openmmlab.com/mmtracking/sot/siamese_rpn/siamese_rpn_r50_1x_lasot/siamese_rpn_r50_20e_lasot_20220420_181845-dd0f151e.pth',
        dtype='auto',
    ),
    transfers={{_base_.transfers}},
    image_key='search_img',
    mask=False,  # crops have no padding of their own
    alpha=0.5,
)
