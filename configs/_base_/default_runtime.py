default_scope = 'mmtrack'
runner_type = 'mmkd.TrackRunner'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='mmtrack.TrackVisualizationHook', draw=False),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

# Every logged scalar, the KD ones too, goes to each backend in this list, e.g.
# dict(type='TensorboardVisBackend') or dict(type='WandbVisBackend').
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='mmtrack.TrackLocalVisualizer', vis_backends=vis_backends, name='visualizer')

# The KD scalars are averaged over the window like the losses, so that their curves compare.
log_processor = dict(
    type='LogProcessor',
    window_size=50,
    by_epoch=True,
    mean_pattern=r'.*(loss|time|data_time|grad_norm|task_raw|kd_|det_|id_).*',
)
log_level = 'INFO'
load_from = None
resume = False
