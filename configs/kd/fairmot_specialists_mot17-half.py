# Specialists for FairMOT: the distiller of configs/kd/sdst/ knows no tracker. A FairMOT with the
# wider HRNetV2-W32 teaches all scenes; one that was trained on with the scenes of a moving camera
# teaches these, and counts where it beats the other (MOTDataset's attributes= and groups choose).
_base_ = '../mot/fairmot/fairmot_hrnetv2-w18_8xb2-30e_mot17halftrain_test-mot17halfval.py'

big = 'fairmot_hrnetv2-w32_8xb2-30e_mot17halftrain_test-mot17halfval'
# Whose camera moves (Milan et al., arXiv 1603.00831, the table of sequences).
scenes = {
    'MOT17-02': [],
    'MOT17-04': [],
    'MOT17-05': ['CM'],
    'MOT17-09': [],
    'MOT17-10': ['CM'],
    'MOT17-11': ['CM'],
    'MOT17-13': ['CM'],
}
_teacher_ = dict(
    type='mmkd.BatchTeacher', config='{{ fileDirname }}/../mot/fairmot/' + big + '.py', dtype='auto'
)
model = dict(
    _delete_=True,
    type='mmkd.SpecializedTeacherDistiller',
    student={{_base_.model}},
    general=dict(**_teacher_, weights=f'work_dirs/{big}/epoch_30.pth'),
    specialists=dict(
        camera_motion=dict(
            teacher=dict(**_teacher_, weights=f'work_dirs/{big}_moving-camera/epoch_30.pth')
        ),
    ),
    trust=dict(type='mmkd.GateTrust'),
    transfers=[
        dict(student='neck', loss=dict(type='mmkd.PKDLoss')),
        dict(student='head[heatmap]', loss=dict(type='mmkd.HeatmapDistillLoss')),
        dict(name='hard', loss=dict(type='mmkd.AdaptiveHardLoss'), weight=0.1),
    ],
    alpha=0.5,
)
train_dataloader = dict(dataset=dict(attributes=scenes))
