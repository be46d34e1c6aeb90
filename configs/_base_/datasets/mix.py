# The original's MIX: MOT17 and JDE's Caltech, CityPersons, CUHK-SYSU, PRW and ETH train together.
# tools/dataset_converters/jde2coco.py makes the annotation files of the five from JDE's lists.
# The second halves of MOT17 are scored although training has seen them, as in mot17.py.
_base_ = './mot17.py'

jde_sets = ('caltech_all', 'citypersons_train', 'cuhksysu_train', 'prw_train', 'eth_train')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            _base_.train_dataloader.dataset,
            *[
                dict(
                    type='mmkd.MOTDataset',
                    load_as_video=False,
                    data_root='data/JDE/',
                    ann_file=f'annotations/{name}.json',
                    metainfo=dict(classes=_base_.classes),
                    pipeline=_base_.train_pipeline,
                )
                for name in jde_sets
            ],
        ],
    )
)
