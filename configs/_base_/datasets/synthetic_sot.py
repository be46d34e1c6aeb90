# A synthetic set in LaSOT's layout whose videos have exactly the attributes that its table says:
#     python tools/dataset_converters/make_synthetic_sot.py data/synthetic_sot
# docs/sot_synthetic.md says what they mean.
exemplar_size = 127
search_size = 255
data_root = 'data/synthetic_sot/'

train_pipeline = [
    dict(type='mmkd.VisiblePairSampling', frame_range=100, pos_prob=0.8),
    dict(
        type='TransformBroadcaster',
        share_random_params=False,
        transforms=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadTrackAnnotations', with_instance_id=False),
            dict(
                type='CropLikeSiamFC',
                context_amount=0.5,
                exemplar_size=exemplar_size,
                crop_size=511,
            ),
        ],
    ),
    dict(
        type='SeqShiftScaleAug',
        target_size=[exemplar_size, search_size],
        shift=[4, 64],
        scale=[0.05, 0.18],
    ),
    dict(type='SeqColorAug', prob=[1.0, 1.0]),
    dict(type='SeqBlurAug', prob=[0.0, 0.2]),
    dict(type='PackTrackInputs', ref_prefix='search', num_template_frames=1),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadTrackAnnotations', with_instance_id=False),
    dict(type='PackTrackInputs', pack_single_img=True),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    # An epoch would be one pair of each video; this is a number of pairs.
    sampler=dict(type='QuotaSampler', samples_per_epoch=4800),
    dataset=dict(
        type='mmkd.LaSOTDataset',
        data_root=data_root,
        ann_file='annotations/train_infos.txt',
        data_prefix=dict(img_path='videos'),
        attributes='annotations/attributes.json',
        pipeline=train_pipeline,
        test_mode=False,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='VideoSampler'),
    dataset=dict(
        type='mmkd.LaSOTDataset',
        data_root=data_root,
        ann_file='annotations/test_infos.txt',
        data_prefix=dict(img_path='videos'),
        attributes='annotations/attributes.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmkd.AttributeSOTMetric',
    metric='OPE',
    metric_options=dict(only_eval_visible=True),
)
test_evaluator = val_evaluator
