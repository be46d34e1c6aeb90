# OTB100, which is for testing only, scored for each attribute. docs/sot_data.md makes the files.
_base_ = 'mmtrack::_base_/datasets/otb100.py'

val_dataloader = dict(
    dataset=dict(type='mmkd.OTB100Dataset', attributes='OTB100/annotations/attributes.json')
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmkd.AttributeSOTMetric')
test_evaluator = val_evaluator
