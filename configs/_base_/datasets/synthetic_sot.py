# A synthetic set in LaSOT's layout whose videos have exactly the attributes that its table says:
#     python tools/dataset_converters/make_synthetic_sot.py data/synthetic_sot
# docs/sot_synthetic.md says what they mean.
_base_ = './sot_pairs.py'

data_root = 'data/synthetic_sot/'

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
        pipeline={{_base_.train_pipeline}},
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
