# Two teachers: DINOv2 for what the neck's map holds; and a FairMOT with the wider HRNetV2-W32,
# trained before, for its map, its heatmap, and whom its embeddings hold for alike.
_base_ = '../mot/fairmot/fairmot_hrnetv2-w18_8xb2-30e_mot17halftrain_test-mot17halfval.py'

big = 'fairmot_hrnetv2-w32_8xb2-30e_mot17halftrain_test-mot17halfval'
model = dict(
    _delete_=True,
    type='mmkd.FeatureDistiller',
    student={{_base_.model}},
    teachers=dict(
        dino=dict(type='mmkd.DINOv2Teacher', arch='base', weights='timm'),
        big=dict(
            type='mmkd.ModelTeacher',
            config='{{ fileDirname }}/../mot/fairmot/' + big + '.py',
            weights=f'work_dirs/{big}/epoch_30.pth',
        ),
    ),
    distill=[
        dict(student='neck', teacher='dino.last', name='dino'),
        dict(student='neck', teacher='big.neck', name='map', loss=dict(type='mmkd.PKDLoss')),
        dict(
            student='head.heatmap',
            teacher='big.head.heatmap',
            name='heatmap',
            transform=None,
            loss=dict(type='mmkd.HeatmapDistillLoss'),
        ),
        dict(
            student='head.embedding',
            teacher='big.head.embedding',
            name='embedding',
            transform=None,
            loss=dict(type='mmkd.EmbeddingDistillLoss', mode='relational'),
        ),
    ],
)
