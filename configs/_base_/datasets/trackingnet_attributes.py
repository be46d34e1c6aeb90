# TrackingNet: pairs of its first four parts (10,000 videos), as many trackers use it, and results
# of its test videos for the evaluation server. It has no attributes of videos; a table that was
# computed can be named with attributes=.
_base_ = 'mmtrack::_base_/datasets/trackingnet.py'

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
    sampler=dict(type='QuotaSampler', samples_per_epoch=60000),
    dataset=dict(
        type='mmkd.TrackingNetDataset',
        chunks_list=[0, 1, 2, 3],
        data_root='data/',
        ann_file='TrackingNet/annotations/trackingnet_train_infos.txt',
        data_prefix=dict(img_path='TrackingNet'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(type='mmkd.TrackingNetDataset'))
test_dataloader = val_dataloader
