# CrowdHuman and the first halves of MOT17 train together; MOT17's second halves are scored.
_base_ = './crowdhuman.py'

train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                type='mmkd.MOTDataset',
                data_root='data/MOT17/',
                ann_file='annotations/half-train.json',
                data_prefix=dict(img_path='train'),
                metainfo=dict(classes=_base_.classes),
                pipeline=_base_.train_pipeline,
            ),
            *_base_.train_dataloader.dataset.datasets,
        ]
    )
)
