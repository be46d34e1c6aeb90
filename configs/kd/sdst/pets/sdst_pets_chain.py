# The chain on the tracks of PETS09-S2L1, from the weights of the synthetic chain:
#     python tools/dataset_converters/mot2sot.py --input data/pets/train --output data/pets_sot
#     tools/sdst.sh configs/kd/sdst/pets/sdst_pets_chain.py 1
work_dir = 'work_dirs/sdst/pets'
_amp = ['--amp']
_seeds = [0, 1, 2]
runs = [
    dict(name='general', config='sdst_pets_general.py', train_args=_amp),
    *[
        dict(
            name=f'specialist_{name}',
            config=f'sdst_pets_specialist_{name}.py',
            options={'load_from': '{general}'},
            train_args=_amp,
        )
        for name in ('occlusion', 'scale-variation')
    ],
    dict(name='student', config='sdst_pets_student.py', seeds=_seeds, train_args=_amp),
    dict(
        name='student_general',
        config='sdst_pets_student_general.py',
        options={'model.general.weights': '{general}'},
        seeds=_seeds,
        train_args=_amp,
    ),
    dict(
        name='student_sdst',
        config='sdst_pets_student_sdst.py',
        options={
            'model.general.weights': '{general}',
            'model.specialists.occlusion.teacher.weights': '{specialist_occlusion}',
            'model.specialists.scale_variation.teacher.weights': '{specialist_scale-variation}',
        },
        seeds=_seeds,
        train_args=_amp,
    ),
]
compare = dict(
    arms={
        'no KD': 'student',
        'general': 'student_general',
        'SDST': 'student_sdst',
        'teacher': 'general',
    },
    differences=[('general', 'no KD'), ('SDST', 'no KD'), ('SDST', 'general')],
)
