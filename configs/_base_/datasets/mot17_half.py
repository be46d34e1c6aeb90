# The first half of every MOT17 training sequence trains, the second half is scored.
# tools/dataset_converters/mot2coco.py makes the annotation files.
data_root = 'data/MOT17/'
classes = ('pedestrian',)
# The benchmark forgives predictions on these; None of your own data: distractors=().
distractors = ('person_on_vehicle', 'static_person', 'distractor', 'reflection')
input_scale = (1088, 608)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmtrack.LoadTrackAnnotations', with_instance_id=True),
    dict(type='mmkd.HSVJitter'),
    dict(type='mmkd.Letterbox', scale=input_scale, mapping='fairmot'),
    dict(type='mmkd.IdAwareRandomAffine', style='fairmot'),
    dict(type='mmkd.IdAwareRandomFlip', prob=0.5),
    dict(
        type='mmtrack.PackTrackInputs', pack_single_img=True, meta_keys=('homography_matrix', 'fps')
    ),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmtrack.LoadTrackAnnotations', with_instance_id=True),
    dict(type='mmkd.Letterbox', scale=input_scale, mapping='fairmot'),
    dict(
        type='mmtrack.PackTrackInputs', pack_single_img=True, meta_keys=('homography_matrix', 'fps')
    ),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmkd.MOTDataset',
        data_root=data_root,
        ann_file='annotations/half-train.json',
        data_prefix=dict(img_path='train'),
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='mmkd.VideoSampler'),
    dataset=dict(
        type='mmkd.MOTDataset',
        data_root=data_root,
        ann_file='annotations/half-val.json',
        data_prefix=dict(img_path='train'),
        metainfo=dict(classes=classes),
        distractors=distractors,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='mmkd.MOTMetric')
test_evaluator = val_evaluator
