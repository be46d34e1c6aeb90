# The chain on the synthetic set, from scratch, three seeds for each student:
#     python tools/dataset_converters/make_synthetic_sot.py data/synthetic_sot \
#         --train 320 --test 120
#     tools/sdst.sh configs/kd/sdst/synthetic/sdst_synthetic_chain.py 1
work_dir = 'work_dirs/sdst/synthetic'
_amp = ['--amp']
_seeds = [0, 1, 2]
_all = {
    'model.general.weights': '{general}',
    'model.specialists.occlusion.teacher.weights': '{specialist_occlusion}',
    'model.specialists.fast_motion.teacher.weights': '{specialist_fast-motion}',
    'model.specialists.similar_object.teacher.weights': '{specialist_similar-object}',
}
runs = [
    dict(
        name='general',
        config='sdst_synthetic_general.py',
        train_args=_amp,
        test_args=_amp,  # half the time, and as it teaches
    ),
    *[
        dict(
            name=f'specialist_{name}',
            config=f'sdst_synthetic_specialist_{name}.py',
            options={'load_from': '{general}'},
            train_args=_amp,
        )
        for name in ('occlusion', 'fast-motion', 'similar-object')
    ],
    dict(name='student', config='sdst_synthetic_student.py', seeds=_seeds, train_args=_amp),
    dict(
        name='student_general',
        config='sdst_synthetic_student_general.py',
        options={'model.general.weights': '{general}'},
        seeds=_seeds,
        train_args=_amp,
    ),
    dict(
        name='student_sdst',
        config='sdst_synthetic_student_sdst.py',
        options=_all,
        seeds=_seeds,
        train_args=_amp,
    ),
    dict(
        name='student_sdst-softmax',
        config='sdst_synthetic_student_sdst-softmax.py',
        options=_all,
        seeds=_seeds,
        train_args=_amp,
    ),
]
compare = dict(
    arms={
        'no KD': 'student',
        'general': 'student_general',
        'SDST': 'student_sdst',
        'SDST, softmax': 'student_sdst-softmax',
        'teacher': 'general',
    },
    differences=[
        ('general', 'no KD'),
        ('SDST', 'no KD'),
        ('SDST', 'general'),
        ('SDST, softmax', 'general'),
    ],
    costs=True,
)
