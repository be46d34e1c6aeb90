import pytest
import torch
from torch import nn

from mmkd.distill import DINOv2Teacher, Teacher
from mmkd.errors import MMKDError

from ..toys import TINY


class ToyTeacher(Teacher):
    """With everything that must not run: batch statistics and dropout."""

    def __init__(self, **kwargs):
        super().__init__(patch=2, **kwargs)
        self.channels = {'map': 4}
        self.strides = {'map': 2}

    def build(self):
        return nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def extract(self, x):
        return {'map': self.net(x)}


def _teacher(**kwargs):
    return DINOv2Teacher(arch=TINY, weights='random', **kwargs)


def test_is_light_until_it_is_loaded():
    teacher = _teacher()
    assert not list(teacher.parameters())
    with pytest.raises(MMKDError, match='no weights yet'):
        teacher.fingerprint()
    teacher.load()
    assert list(teacher.parameters())


def test_is_frozen_whatever_is_asked_of_it():
    teacher = ToyTeacher().load()
    teacher.train()
    before = teacher.fingerprint()
    images = torch.rand(2, 3, 8, 8) * 255
    first = teacher(images)['map']
    assert torch.equal(first, teacher(images)['map'])
    assert not first.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())
    assert teacher.fingerprint() == before


def test_loading_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ToyTeacher().load()
    assert torch.equal(torch.rand(3), expected)


def test_the_fingerprint_is_of_weights_and_preprocessing():
    teacher, other = _teacher().load(), _teacher(input_size=0.5).load()
    assert teacher.fingerprint() == _teacher().load().fingerprint()
    assert teacher.fingerprint() != other.fingerprint()
    before = teacher.fingerprint()
    with torch.no_grad():
        teacher.net.norm.bias[0] += 1
    assert teacher.fingerprint() != before


@pytest.mark.parametrize('cast', ['half', 'double', 'bfloat16'])
def test_without_a_type_of_its_own_it_follows_casts(cast):
    teacher = getattr(_teacher().load(), cast)()
    expected = getattr(torch.zeros(1), cast)().dtype
    assert {p.dtype for p in teacher.parameters()} == {expected}
    # Pixels in 0..255 would lose their last digits.
    assert teacher.mean.dtype == torch.float32


def test_its_own_type_outlives_casts_bit_by_bit():
    teacher = _teacher(dtype='bf16').load()
    before = teacher.fingerprint()
    teacher.half().float().double()
    assert {p.dtype for p in teacher.parameters()} == {torch.bfloat16}
    assert teacher.fingerprint() == before
    assert teacher(torch.rand(1, 3, 28, 28) * 255)['last'].dtype == torch.bfloat16


def test_autocast_is_honoured_only_without_a_type_of_its_own():
    images = torch.rand(1, 3, 28, 28) * 255
    own, follows = ToyTeacher(dtype='fp32'), ToyTeacher()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert own(images)['map'].dtype == torch.float32
        assert follows(images)['map'].dtype == torch.bfloat16


def test_a_move_takes_everything():
    teacher = _teacher(dtype='bf16').load().to('meta')
    tensors = [*teacher.parameters(), *teacher.buffers()]
    assert {t.device.type for t in tensors} == {'meta'}
    assert {p.dtype for p in teacher.parameters()} == {torch.bfloat16}
