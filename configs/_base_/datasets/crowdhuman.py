# CrowdHuman's images, training and validation set, train; each box is an identity of its own.
# What is scored is MOT17's second halves: CrowdHuman has no videos. Who lacks MOT17 sets
# val_dataloader, val_cfg and val_evaluator to None, and the three of test likewise.
_base_ = './mot17_half.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(
                type='mmkd.MOTDataset',
                load_as_video=False,
                data_root='data/CrowdHuman/',
                ann_file=ann_file,
                data_prefix=dict(img_path='Images'),
                metainfo=dict(classes=_base_.classes),
                pipeline=_base_.train_pipeline,
            )
            for ann_file in ('annotations/train.json', 'annotations/val.json')
        ],
    )
)
