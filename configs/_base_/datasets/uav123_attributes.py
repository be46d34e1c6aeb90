# UAV123, which is for testing only, scored for each attribute. docs/sot_data.md makes the files.
_base_ = 'mmtrack::_base_/datasets/uav123.py'

val_dataloader = dict(
    dataset=dict(type='mmkd.UAV123Dataset', attributes='UAV123/annotations/attributes.json')
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmkd.AttributeSOTMetric')
test_evaluator = val_evaluator
