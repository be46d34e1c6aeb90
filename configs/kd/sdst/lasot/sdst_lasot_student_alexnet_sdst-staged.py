# The general teacher first, then the specialists: half of the epochs each.
_base_ = './sdst_lasot_student_alexnet_sdst.py'

model = dict(general_weight=dict(stop_epoch=25), specialist_weight=dict(begin_epoch=25))
