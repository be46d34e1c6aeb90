# A specialist counts where it beats the general teacher on that sample.
_base_ = './sdst_lasot_student_alexnet_sdst.py'

model = dict(trust=dict(type='mmkd.GateTrust', margin=0.0))
