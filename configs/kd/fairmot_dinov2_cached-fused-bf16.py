# fairmot_dinov2_cached-fused.py in bfloat16 with channels last: the fastest of them on processors
# with AMX and on GPUs from Ampere on.
#     python tools/cache_teacher.py configs/kd/fairmot_dinov2_cached-fused-bf16.py
# The cache is that of fairmot_dinov2_cached-fused.py: a student's precision is none of its.
_base_ = './fairmot_dinov2_cached-fused.py'

optim_wrapper = dict(type='mmkd.Bf16OptimWrapper')
channels_last = True
