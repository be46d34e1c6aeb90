# The recipe on LaSOT (docs/sot_data.md makes the files), eight GPUs:
#     tools/sdst.sh configs/kd/sdst/lasot/sdst_lasot_chain.py 8
# The general teacher is mmtrack's checkpoint, which is downloaded.
work_dir = 'work_dirs/sdst/lasot'
_checkpoint = (
    'https://download.openmmlab.com/mmtracking/sot/siamese_rpn/siamese_rpn_r50_1x_lasot/'
    'siamese_rpn_r50_20e_lasot_20220420_181845-dd0f151e.pth'
)
_specialists = ['occlusion', 'fast-motion', 'motion-blur', 'out-of-view']
_general = {'model.general.weights': '{general}'}
_all = {
    'model.general.weights': '{general}',
    'model.specialists.occlusion.teacher.weights': '{specialist_occlusion}',
    'model.specialists.fast_motion.teacher.weights': '{specialist_fast-motion}',
    'model.specialists.motion_blur.teacher.weights': '{specialist_motion-blur}',
    'model.specialists.out_of_view.teacher.weights': '{specialist_out-of-view}',
}
runs = [
    dict(name='general', config='sdst_lasot_general.py', checkpoint=_checkpoint),
    *[
        dict(
            name=f'specialist_{name}',
            config=f'sdst_lasot_specialist_{name}.py',
            options={'load_from': '{general}'},
        )
        for name in _specialists
    ],
]
for _name in ('alexnet', 'mobilenetv2', 'r18'):
    runs += [
        dict(name=_name, config=f'sdst_lasot_student_{_name}.py'),
        dict(
            name=f'{_name}_general',
            config=f'sdst_lasot_student_{_name}_general.py',
            options=_general,
        ),
        dict(name=f'{_name}_sdst', config=f'sdst_lasot_student_{_name}_sdst.py', options=_all),
    ]
compare = dict(
    arms={
        'no KD': 'alexnet',
        'general': 'alexnet_general',
        'SDST': 'alexnet_sdst',
        'teacher': 'general',
    },
    differences=[('general', 'no KD'), ('SDST', 'no KD'), ('SDST', 'general')],
    costs=True,
)
