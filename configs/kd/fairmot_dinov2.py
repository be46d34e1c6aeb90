# DINOv2 distilled into FairMOT as arXiv 2407.18288 found best: DINOv2 Base, its last block, one
# 1x1 projection of the 270-channel map, cosine, and half of the loss to each side.
_base_ = '../mot/fairmot/fairmot_hrnetv2-w18_8xb2-30e_mot17halftrain_test-mot17halfval.py'

model = dict(
    _delete_=True,
    type='mmkd.FeatureDistiller',
    student={{_base_.model}},
    teacher=dict(type='mmkd.DINOv2Teacher', arch='base', weights='timm'),
    distill=[
        dict(
            student='neck',
            teacher='last',
            transform=dict(type='mmkd.FeatureTransform'),
            loss=dict(type='mmkd.CosineDistillLoss'),
        )
    ],
    alpha=0.5,
)
