"""No teacher changes, whatever it is made of and whatever is asked of it."""

import hashlib

import pytest
import torch

from mmkd.distill.teachers import (
    DINOv2Teacher,
    DINOv3Teacher,
    EMATeacher,
    ModelTeacher,
    TimmTeacher,
)

from ..toys import PREPROCESSOR, TINY, ToyStudent

DROPS = {'proj_drop_rate': 0.5, 'attn_drop_rate': 0.5, 'drop_path_rate': 0.5}
VIT = {'depth': 3, 'embed_dim': 24, 'num_heads': 2, **DROPS}


def _ema():
    teacher = EMATeacher()
    teacher.bind(ToyStudent(dict(PREPROCESSOR)))
    return teacher


TEACHERS = {
    'BatchNorm': lambda: TimmTeacher(
        'resnet18', 'random', options={'channels': (8, 8, 16, 16), 'drop_path_rate': 0.5}
    ),
    'Dropout and DropPath': lambda: TimmTeacher('vit_tiny_patch16_224', 'random', options=VIT),
    'DINOv2': lambda: DINOv2Teacher(TINY, 'random'),
    'DINOv3': lambda: DINOv3Teacher({'embed_dim': 32, 'depth': 2, 'num_heads': 2}, 'random'),
    'a model with both': lambda: ModelTeacher({'type': 'ToyStudent'}, 'random'),
    'an average': _ema,
}


def _hash(teacher):
    digest = hashlib.sha256()
    for name, tensor in [*teacher.named_parameters(), *teacher.named_buffers()]:
        digest.update(name.encode() + tensor.detach().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize('kind', TEACHERS)
def test_nothing_changes(kind):
    teacher = TEACHERS[kind]()
    feature = 'neck[0]' if 'model' in kind or 'average' in kind else 'last'
    teacher.request([feature])
    teacher.load()
    assert any(tensor.numel() for tensor in teacher.parameters())
    before = _hash(teacher)
    teacher.train()
    images = torch.rand(4, 3, 64, 64) * 255
    first = teacher(images)[feature]
    for _ in range(3):
        teacher.train(True)
        teacher(torch.rand(4, 3, 64, 64) * 255)
    assert torch.equal(teacher(images)[feature], first)
    assert not first.requires_grad
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert _hash(teacher) == before


def test_the_hash_sees_what_train_mode_does():
    # What the teachers above would do if they were not held.
    for kind in ('BatchNorm', 'a model with both'):
        teacher = TEACHERS[kind]()
        feature = 'neck[0]' if 'model' in kind else 'last'
        teacher.request([feature])
        teacher.load()
        before = _hash(teacher)
        for module in teacher.modules():
            module.training = True
        teacher(torch.rand(4, 3, 64, 64) * 255)
        assert _hash(teacher) != before
    teacher = TEACHERS['Dropout and DropPath']().load()
    for module in teacher.modules():
        module.training = True
    images = torch.rand(4, 3, 64, 64) * 255
    assert not torch.equal(teacher(images)['last'], teacher(images)['last'])
