# TrackingNet: pairs of its first four parts (10,000 videos), as many trackers use it, and results
# of its test videos for the evaluation server. It has no attributes of videos; a table that was
# computed can be named with attributes=.
_base_ = ['mmtrack::_base_/datasets/trackingnet.py', './sot_pairs.py']

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
        pipeline={{_base_.train_pipeline}},
    ),
)
val_dataloader = dict(dataset=dict(type='mmkd.TrackingNetDataset'))
test_dataloader = val_dataloader
