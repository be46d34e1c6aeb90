import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from mmkd.apis.compare_teachers import teacher_losses
from mmkd.errors import MMKDError
from mmkd.registry import MODELS
from tests.test_distill import siamese_toy as toy

NAMES = ((), ('POC',), ('FM',), ('POC', 'FM'), ('FM',))


@MODELS.register_module(force=True)
class StackPairs(BaseDataPreprocessor):
    """Makes batches of what the data set gives."""

    def forward(self, data, training=False):
        inputs = {key: torch.stack(value) for key, value in data['inputs'].items()}
        return dict(inputs=inputs, data_samples=data['data_samples'])


@DATASETS.register_module(force=True)
class ToyPairs(Dataset):
    """Pairs of pictures of five videos, other ones in each draw."""

    def __len__(self):
        return len(NAMES)

    def __getitem__(self, index):
        inputs = {
            'img': torch.rand(1, 3, 16, 16) * 255,
            'search_img': torch.rand(1, 3, 32, 32) * 255,
        }
        return dict(inputs=inputs, data_samples=toy.sample(NAMES[index], place=index % 4))


def config(**changes):
    model = toy.config(
        student=dict(type='ToyPair', data_preprocessor=dict(type='StackPairs')), **changes
    )
    loader = dict(dataset=dict(type='ToyPairs'))
    return Config(dict(model=model, train_dataloader=loader, default_scope='mmkd'))


def test_by_hand():
    """One sample at a time, each teacher's model asked on its own."""
    # The toy's targets depend on the place in the batch.
    table = teacher_losses(config(), pairs=13, batch=1, seed=3)
    distiller = MODELS.build(config().model.to_dict()).eval()
    distiller.start()
    torch.manual_seed(3)
    dataset, rows = ToyPairs(), []
    for index in range(13):
        one = dataset[index % 5]
        data = StackPairs()(
            dict(
                inputs={key: [value] for key, value in one['inputs'].items()},
                data_samples=[one['data_samples']],
            )
        )
        targets = distiller.student.sample_targets(data['data_samples'])
        losses = {}
        for name, teacher in distiller.teachers.items():
            # The toy's pictures are BGR, as OpenMMLab loads them; its networks read what they get.
            cls, reg = teacher.net(data['inputs'], mode='tensor')
            answer = dict(cls=cls, reg=reg)
            losses[name] = float(distiller.student.sample_losses(answer, targets).detach())
        rows.append((NAMES[index % 5], losses))
    assert list(table) == ['all', 'FM', 'POC']
    for attribute, found in table.items():
        own = [losses for names, losses in rows if attribute == 'all' or attribute in names]
        for name, row in found.items():
            assert row.samples == len(own)
            assert row.loss == pytest.approx(sum(each[name] for each in own) / len(own), rel=1e-4)
            less = torch.tensor([each['general'] - each[name] for each in own])
            assert row.less == pytest.approx(float(less.mean()), abs=1e-5)
            assert row.error == pytest.approx(float(less.std()) / len(own) ** 0.5, abs=1e-5)
    assert table['all']['general'].less == 0


def test_another_model_is_refused():
    with pytest.raises(MMKDError, match='teachers of a SpecializedTeacherDistiller.*a ToyPair'):
        teacher_losses(Config(dict(model=dict(type='ToyPair'), default_scope='mmkd')), pairs=1)


def test_batches_are_put_together():
    table = teacher_losses(config(), pairs=13, batch=4)
    assert table['all']['occlusion'].samples == 13
    assert table['POC']['occlusion'].samples == 5
    assert table['FM']['occlusion'].samples == 7
