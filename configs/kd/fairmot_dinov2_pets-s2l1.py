# DINOv2 distilled into FairMOT on PETS09-S2L1; docs/results.md has the run and says what
# its teacher was. For a real one give --cfg-options model.teacher.weights=FILE (or timm).
_base_ = '../mot/fairmot/fairmot_hrnetv2-w18-h64_1xb4-8e_pets-s2l1.py'

model = dict(
    _delete_=True,
    type='mmkd.FeatureDistiller',
    student={{_base_.model}},
    teacher=dict(type='mmkd.DINOv2Teacher', arch='small', weights='random'),
    distill=[dict(student='neck', teacher='last')],  # 1x1 transform and cosine by default
    alpha=0.5,
)
