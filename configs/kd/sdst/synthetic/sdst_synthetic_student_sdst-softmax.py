# As much distillation as from the general teacher only, of whoever is best on a sample.
_base_ = './sdst_synthetic_student_sdst.py'

model = dict(
    trust=dict(type='mmkd.SoftmaxTrust', temperature=0.1),
    divide_by='batch',
)
