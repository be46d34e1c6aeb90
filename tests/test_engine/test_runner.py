"""The runner sizes the identity classifier before the optimiser lists the parameters."""

import os

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmkd.engine import TrackRunner
from mmkd.errors import MMKDError


class Identities(Dataset):
    """Four samples of three identities, with the attributes that mmkd's data sets have."""

    def __init__(self, num_ids=3):
        if num_ids is not None:
            self.num_ids = num_ids
            self.id_offset = 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.ones(2), data_samples=torch.tensor(index % 3))


class Classifier(BaseModel):
    """One layer that always exists and one that the data sizes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.head = None

    def set_num_ids(self, num_ids):
        self.head = nn.Linear(2, num_ids)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        logits = self.head(self.body(torch.stack(inputs)))
        return dict(loss=nn.functional.cross_entropy(logits, torch.stack(data_samples)))


class Plain(Classifier):
    """A model that knows nothing of identities."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)

    set_num_ids = property()  # attribute access raises AttributeError


def runner(tmp_path, model, dataset):
    return TrackRunner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_scope='mmengine',
        log_level='ERROR',
        experiment_name=tmp_path.name,
    )


def test_classifier_has_a_row_per_identity_and_is_in_the_optimiser(tmp_path):
    built = runner(tmp_path, Classifier(), Identities())
    assert built.model.head is None
    model = built.train()
    assert model.head.out_features == 3
    optimised = {id(p) for group in built.optim_wrapper.param_groups for p in group['params']}
    assert {id(p) for p in model.parameters()} == optimised


def test_models_without_identities_train_as_with_mmengine(tmp_path):
    model = runner(tmp_path, Plain(), Identities(num_ids=None)).train()
    assert model.head.out_features == 3


def test_data_without_identities_is_an_error_that_names_it(tmp_path):
    with pytest.raises(MMKDError, match='Identities'):
        runner(tmp_path, Classifier(), Identities(num_ids=None)).train()


def test_more_classes_than_outputs_stop_before_training(tmp_path):
    class Two(Identities):
        metainfo = dict(classes=('person', 'car'))

    class OneOutput(Classifier):
        num_classes = 1

    with pytest.raises(MMKDError, match='outputs for 1'):
        runner(tmp_path, OneOutput(), Two()).train()


class Count(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        return dict(samples=sum(results))


class Predictor(Plain):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        return data_samples if mode == 'predict' else super().forward(inputs, data_samples, mode)


@pytest.mark.parametrize('compiled', [False, True, dict(backend='eager')])
def test_testing_is_compiled_if_the_config_says_so(tmp_path, monkeypatch, compiled):
    calls = []

    def spy(function, **options):
        def run(*args, **kwargs):
            calls.append(options)
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(torch, 'compile', spy)
    loader = dict(
        batch_size=2,
        dataset=Identities(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )
    built = TrackRunner(
        model=Predictor(),
        work_dir=str(tmp_path),
        test_dataloader=loader,
        test_cfg=dict(),
        test_evaluator=dict(type=Count),
        default_scope='mmengine',
        log_level='ERROR',
        experiment_name=tmp_path.name,
        cfg=dict(compile=compiled),
    )
    for _ in range(2):  # a second test compiles nothing anew
        assert built.test() == dict(samples=4)
    expected = {} if compiled is True else compiled
    assert calls == ([] if compiled is False else [expected] * 4)


@pytest.mark.parametrize('before', [None, ':16:8'])
def test_deterministic_products_of_matrices_are_possible_on_a_gpu(tmp_path, monkeypatch, before):
    """torch refuses them there without this variable, which no config can set."""
    name = 'CUBLAS_WORKSPACE_CONFIG'
    monkeypatch.setenv(name, 'to be put back')
    monkeypatch.delenv(name)
    one = runner(tmp_path / 'one', Plain(), Identities(None))
    assert name not in os.environ
    if before:
        os.environ[name] = before
    seen = []
    monkeypatch.setattr(Runner, 'set_randomness', lambda *_, **__: seen.append(os.environ[name]))
    one.set_randomness(seed=1, deterministic=True)
    assert seen == [before or ':4096:8']


class _Preprocessed(Plain):
    def __init__(self):
        super().__init__()
        self.data_preprocessor = BaseDataPreprocessor()


@pytest.mark.parametrize(('device', 'beside'), [('cpu', False), ('cuda', True)])
def test_batches_come_over_beside_the_work_of_a_gpu(tmp_path, monkeypatch, device, beside):
    built = runner(tmp_path, _Preprocessed(), Identities(num_ids=None))
    monkeypatch.setattr('mmkd.engine.runner.get_device', lambda: device)
    built._transfer_beside()
    assert built._train_dataloader.get('pin_memory', False) is beside
    assert built.model.data_preprocessor._non_blocking is beside
    built._train_dataloader['pin_memory'] = False
    built._transfer_beside()
    assert built._train_dataloader['pin_memory'] is False, 'the config has the last word'
