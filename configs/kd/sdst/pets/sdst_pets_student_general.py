# The student with the general teacher only.
_base_ = ['./sdst_pets_student.py', '../_base_/transfers.py']

model = dict(
    _delete_=True,
    type='mmkd.SpecializedTeacherDistiller',
    student={{_base_.model}},
    general=dict(
        type='mmkd.BatchTeacher',
        config='{{ fileDirname }}/sdst_pets_general.py',
        weights='work_dirs/sdst/pets/general/epoch_2.pth',
        dtype='auto',
    ),
    transfers={{_base_.transfers}},
    image_key='search_img',
    mask=False,
    alpha=0.5,
)
