# A tracker that was trained on PETS09-S2L1, FairMOT with DLA-34, distilled into the light one with
# an eighth of its parameters. Whether that helps has not been measured yet. First the teacher:
#   python tools/train.py configs/mot/fairmot/fairmot_dla34-nodcn-h64_1xb4-8e_pets-s2l1.py
_base_ = '../mot/fairmot/fairmot_mobilenetv2-h64_1xb4-8e_pets-s2l1.py'

big = 'fairmot_dla34-nodcn-h64_1xb4-8e_pets-s2l1'
model = dict(
    _delete_=True,
    type='mmkd.FeatureDistiller',
    student={{_base_.model}},
    teacher=dict(
        type='mmkd.ModelTeacher',
        config='{{ fileDirname }}/../mot/fairmot/' + big + '.py',
        weights=f'work_dirs/{big}/epoch_8.pth',
    ),
    distill=[
        dict(student='neck', teacher='neck'),
        dict(
            student='head.heatmap',
            teacher='head.heatmap',
            name='heatmap',
            transform=None,
            loss=dict(type='mmkd.HeatmapDistillLoss'),
        ),
        dict(
            student='head.embedding',
            teacher='head.embedding',
            name='embedding',
            loss=dict(type='mmkd.EmbeddingDistillLoss'),
        ),
    ],
    calibration=dict(type='mmkd.GradientRatio', ratio=0.5),
)
