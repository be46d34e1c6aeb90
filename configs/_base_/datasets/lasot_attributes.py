# LaSOT: pairs of its 1,120 training videos, and its 280 test videos scored for each attribute. Who
# wants the videos of one attribute only says dataset=dict(only=('POC', 'FOC')) or
# dataset=dict(groups=('occlusion',)). docs/sot_data.md makes the files.
_base_ = 'mmtrack::_base_/datasets/lasot.py'

attributes = 'LaSOT_full/annotations/attributes.json'
train_pipeline = [
    dict(type='mmkd.VisiblePairSampling', frame_range=100, pos_prob=0.8),
    dict(
        type='TransformBroadcaster',
        share_random_params=False,
        transforms=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadTrackAnnotations', with_instance_id=False),
            dict(type='CropLikeSiamFC', context_amount=0.5, exemplar_size=127, crop_size=511),
        ],
    ),
    dict(type='SeqShiftScaleAug', target_size=[127, 255], shift=[4, 64], scale=[0.05, 0.18]),
    dict(type='SeqColorAug', prob=[1.0, 1.0]),
    dict(type='SeqBlurAug', prob=[0.0, 0.2]),
    dict(type='PackTrackInputs', ref_prefix='search', num_template_frames=1),
]
train_dataloader = dict(
    batch_size=28,
    num_workers=4,
    persistent_workers=True,
    # An epoch would be one pair of each video; this is a number of pairs.
    sampler=dict(type='QuotaSampler', samples_per_epoch=60000),
    dataset=dict(
        type='mmkd.LaSOTDataset',
        data_root='data/',
        ann_file='LaSOT_full/annotations/lasot_train_infos.txt',
        data_prefix=dict(img_path='LaSOT_full/LaSOTBenchmark'),
        attributes=attributes,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(type='mmkd.LaSOTDataset', attributes=attributes))
test_dataloader = val_dataloader
val_evaluator = dict(type='mmkd.AttributeSOTMetric')
test_evaluator = val_evaluator
