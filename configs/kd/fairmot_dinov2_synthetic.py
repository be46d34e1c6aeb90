# The quickstart's distillation. 'random' is a teacher that knows nothing, for machines that cannot
# download DINOv2; give a file or 'timm' with --cfg-options model.teacher.weights=...
_base_ = '../mot/fairmot/fairmot_hrnetv2-w18-lite_1xb4-5e_synthetic.py'

model = dict(
    _delete_=True,
    type='mmkd.FeatureDistiller',
    student={{_base_.model}},
    teacher=dict(type='mmkd.DINOv2Teacher', arch='small', weights='random'),
    distill=[dict(student='neck', teacher='last')],  # 1x1 transform and cosine by default
    alpha=0.5,
)
