"""What a checkpoint's keys say about the configs."""

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict as mmengine_load

from mmkd.distill.distillers import distiller

from ..toys import TINY, ToyStudent, build

FINE = {'student': 'neck[0]', 'teacher': 'last', 'name': 'fine'}
COARSE = {'student': 'neck[1]', 'teacher': 'last', 'name': 'coarse'}
MULTI = {'type': 'mmkd.FeatureTransform', 'layers': 'multi'}


@pytest.fixture
def load(monkeypatch):
    """Loads one model's state into another and returns what is logged about it."""

    def act(source, target):
        lines = []
        monkeypatch.setattr(distiller, 'print_log', lambda text, **kwargs: lines.append(text))
        # Without strict, shapes that differ are warnings as well.
        mmengine_load(target, source.state_dict(), strict=False)
        return ' '.join(lines)

    return act


def test_nothing_is_said_when_everything_fits(load):
    text = load(build(distill=[FINE, COARSE]), build(distill=[FINE, COARSE]))
    assert text == ''


def test_a_plain_student(load):
    text = load(ToyStudent(), build(distill=[FINE, COARSE]))
    assert 'of the student without distillation' in text
    assert '(coarse, fine) starts anew' in text


def test_an_entry_more_and_an_entry_less(load):
    text = load(build(distill=[FINE]), build(distill=[FINE, COARSE]))
    assert "'coarse' is new in the config" in text
    text = load(build(distill=[FINE, COARSE]), build(distill=[FINE]))
    assert "trained with a distill entry named 'coarse', which the config does not have" in text


def test_another_transform(load):
    text = load(build(distill=[FINE]), build(distill=[dict(FINE, transform=MULTI)]))
    assert "transform= of the distill entry 'fine' differs" in text
    assert 'another kind of transform' in text


def test_a_standardised_teacher(load):
    text = load(build(distill=[FINE]), build(distill=[dict(FINE, standardize=True)]))
    assert "standardize= of the distill entry 'fine' differs" in text


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (
            {'teacher': {'type': 'mmkd.DINOv2Teacher', 'arch': dict(TINY, embed_dim=32)}},
            'the teacher has another number of channels',
        ),
        ({'distill': [dict(COARSE, name='fine')]}, 'the tapped module of the student has another'),
    ],
)
def test_another_size(changes, said, load):
    if 'teacher' in changes:
        changes = {'teacher': dict(changes['teacher'], weights='random')}
    target = build(**{'distill': [FINE], **changes})
    text = load(build(distill=[FINE]), target)
    assert 'distill.fine.transform.project.weight is (24, 10, 1, 1) in the checkpoint' in text
    assert said in text


def test_another_student(load):
    class Wider(ToyStudent):
        def __init__(self):
            super().__init__()
            self.extra = torch.nn.Linear(2, 2)
            self.head = torch.nn.Conv2d(10, 3, 1)

    text = load(build(distill=[FINE]), build(student=Wider(), distill=[FINE]))
    assert "lacks 2 of the student's keys in extra (such as 'extra.bias')" in text
    assert 'head.weight is (1, 10, 1, 1) in the checkpoint and (3, 10, 1, 1)' in text
    assert 'another size (classes, identities, width)' in text
    text = load(build(student=Wider(), distill=[FINE]), build(distill=[FINE]))
    assert "has besides 2 of the student's keys in extra" in text


def test_calibration(load):
    text = load(
        build(distill=[FINE]),
        build(distill=[FINE], calibration={'type': 'mmkd.GradientRatio'}),
    )
    assert 'calibration= of the distiller differs: the checkpoint has none' in text
