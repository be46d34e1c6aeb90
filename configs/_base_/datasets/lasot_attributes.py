# LaSOT: pairs of its 1,120 training videos, and its 280 test videos scored for each attribute. Who
# wants the videos of one attribute only says dataset=dict(only=('POC', 'FOC')) or
# dataset=dict(groups=('occlusion',)). docs/sot_data.md makes the files.
_base_ = ['mmtrack::_base_/datasets/lasot.py', './sot_pairs.py']

attributes = 'LaSOT_full/annotations/attributes.json'
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
        pipeline={{_base_.train_pipeline}},
    ),
)
val_dataloader = dict(dataset=dict(type='mmkd.LaSOTDataset', attributes=attributes))
test_dataloader = val_dataloader
val_evaluator = dict(type='mmkd.AttributeSOTMetric')
test_evaluator = val_evaluator
