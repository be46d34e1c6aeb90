# Teachers share a sample by how well they do on it.
_base_ = './sdst_lasot_student_alexnet_sdst.py'

model = dict(trust=dict(type='mmkd.SoftmaxTrust', temperature=0.5))
