# The student with the general teacher only.
_base_ = ['./sdst_synthetic_student.py', '../_base_/transfers.py']

model = dict(
    _delete_=True,
    type='mmkd.SpecializedTeacherDistiller',
    student={{_base_.model}},
    general=dict(
        type='mmkd.BatchTeacher',
        config='{{ fileDirname }}/sdst_synthetic_general.py',
        weights='work_dirs/sdst/synthetic/general/epoch_8.pth',
        dtype='auto',
    ),
    transfers={{_base_.transfers}},
    image_key='search_img',
    mask=False,  # crops have no padding of their own
    alpha=0.5,
)
