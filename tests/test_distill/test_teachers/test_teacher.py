import copy
import gc
import weakref

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


IMAGES = torch.rand(3, 3, 30, 45, generator=torch.Generator().manual_seed(0)) * 255


def test_launch_and_wait_is_forward():
    teacher = _teacher()
    assert torch.equal(teacher.launch(IMAGES).wait()['last'], teacher(IMAGES)['last'])
    assert not teacher.launch(IMAGES).wait()['last'].requires_grad


def test_its_features_may_be_kept_for_backward():
    student = torch.ones(3, 24, 2, 3, requires_grad=True)
    (student * _teacher()(IMAGES)['last']).sum().backward()
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize('switches', [{'micro_batch': 1}, {'micro_batch': 2}])
def test_split_is_whole(switches):
    found, expected = _teacher(**switches)(IMAGES)['last'], _teacher()(IMAGES)['last']
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert found.stride()[1:] == expected.stride()[1:]


def test_a_budget_splits_by_what_the_network_takes():
    seen = []
    teacher = _teacher(memory_budget='250KB').load()
    extract = teacher.extract
    teacher.extract = lambda x: seen.append(len(x)) or extract(x)
    large = torch.rand(4, 3, 112, 112) * 255
    found = teacher(large)['last']
    assert seen[:3] == [1, 1, 2]
    assert 1 <= max(seen[3:]) < 4
    assert sum(seen[3:]) == 4
    torch.testing.assert_close(found, _teacher()(large)['last'], atol=1e-5, rtol=1e-5)


def test_release_and_load_again():
    teacher = _teacher(dtype='auto')
    assert teacher.dtype is None
    before = teacher.load().fingerprint()
    assert teacher.dtype is not None
    expected = teacher(IMAGES)['last']
    teacher.release()
    assert not teacher.loaded
    assert not list(teacher.parameters())
    teacher.request(['last'])
    assert teacher.load().fingerprint() == before
    assert torch.equal(teacher(IMAGES)['last'], expected)


def test_channel_order():
    rgb = ToyTeacher(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)).load()
    bgr = ToyTeacher(mean=(0.3, 0.2, 0.1), std=(0.6, 0.5, 0.4), channel_order='bgr').load()
    torch.testing.assert_close(bgr.preprocess(IMAGES), rgb.preprocess(IMAGES).flip(1))
    with pytest.raises(MMKDError, match="channel_order='grb'.*'rgb'"):
        ToyTeacher(channel_order='grb')


def test_bytes_give_what_floats_give():
    teacher = _teacher()
    whole = IMAGES.round()
    assert torch.equal(teacher(whole.to(torch.uint8))['last'], teacher(whole)['last'])


def test_fit():
    resize, pad = _teacher(), _teacher(fit='pad')
    assert resize.target_size((30, 45)) == (28, 42)
    assert pad.target_size((30, 45)) == (42, 56)
    assert resize.extent((30, 45)) == (30, 45)
    assert pad.extent((30, 45)) == (42, 56)
    assert _teacher(fit='pad', input_size=0.5).extent((60, 90)) == pytest.approx((84, 112))
    assert _teacher(fit='pad', input_size=(20, 28)).extent((40, 40)) == pytest.approx((56, 40))
    assert pad(IMAGES)['last'].shape == (3, 24, 3, 4)
    padded = pad.preprocess(IMAGES)
    assert padded[:, :, 30:].abs().max() == 0
    assert padded[:, :, :, 45:].abs().max() == 0
    with pytest.raises(MMKDError, match="fit='crop'"):
        _teacher(fit='crop')


@pytest.mark.parametrize('changed', [{'fit': 'pad'}, {'channel_order': 'bgr'}, {'mean': (0, 0, 0)}])
def test_what_makes_the_input_is_in_the_fingerprint(changed):
    state = ToyTeacher().load().net.state_dict()
    plain, other = ToyTeacher().load(), ToyTeacher(**changed).load()
    for teacher in (plain, other):
        teacher.net.load_state_dict(state)
    assert plain.fingerprint() != other.fingerprint()


def test_how_it_is_run_is_not_in_the_fingerprint():
    plain = _teacher().load().fingerprint()
    assert _teacher(micro_batch=1, stream=True, compile=True).load().fingerprint() == plain
    teacher = _teacher().load()
    assert teacher.double().fingerprint() == plain
    assert teacher.to(memory_format=torch.channels_last).fingerprint() == plain
    assert _teacher(dtype='bf16').load().fingerprint() != plain


@pytest.mark.parametrize('dtype', [None, 'bf16'])
@pytest.mark.parametrize('when', ['before', 'after', 'both'])
def test_it_is_laid_out_as_the_student(dtype, when):
    teacher = ToyTeacher(dtype=dtype)
    if when != 'after':
        teacher.to(memory_format=torch.channels_last)
        # A move that says nothing of the layout leaves it.
        teacher.to('cpu').float()
    teacher.load()
    if when != 'before':
        teacher.to(memory_format=torch.channels_last)
    assert teacher.net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not teacher.net[0].weight.is_contiguous()
    teacher.release()
    teacher.to(memory_format=torch.contiguous_format)
    assert teacher.load().net[0].weight.is_contiguous()


def test_it_has_nothing_to_remember():
    teacher = _teacher()
    teacher.bind(nn.Linear(1, 1))
    teacher.update(nn.Linear(1, 1))
    teacher.load_memory(teacher.memory())
    assert teacher.memory() == {}
    assert not teacher.stateful


def test_a_copy_runs_its_own_network():
    teacher = ToyTeacher(compile=True).load()
    teacher.runtime._compiled = teacher.extract
    other = copy.deepcopy(teacher)
    assert other.runtime._compiled is None
    assert other.net is not teacher.net


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch, 'compiler'), reason='this torch cannot compile')
@pytest.mark.parametrize('names', [('last',), ('block_0', 'last')])
def test_compiled_is_plain(names):
    plain, fast = _teacher(), _teacher(compile={'backend': 'aot_eager'}, micro_batch=2)
    for teacher in (plain, fast):
        teacher.request(names)
    expected, found = plain(IMAGES), fast(IMAGES)
    assert set(found) == set(names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch, 'compiler'), reason='this torch cannot compile')
def test_what_was_compiled_is_released_as_well():
    teacher = _teacher(compile={'backend': 'aot_eager'})
    teacher(IMAGES)
    weights = [weakref.ref(parameter) for parameter in teacher.net.parameters()]
    teacher.release()
    gc.collect()
    assert all(weight() is None for weight in weights)


@pytest.mark.skipif(hasattr(torch, 'compiler'), reason='this torch can compile')
def test_an_old_torch_says_that_it_cannot_compile():
    with pytest.raises(MMKDError, match='DINOv2Teacher: compile=True is not possible here'):
        _teacher(compile=True)(IMAGES)
