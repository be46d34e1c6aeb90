import copy
import logging
import pickle

import pytest
import torch

from mmkd.distill.teachers import runtime
from mmkd.distill.teachers.runtime import Pending, Runtime, SideStream
from mmkd.errors import MMKDError


def _double(images):
    return {'out': images * 2}


def _identity(images):
    return images


class Cuda:
    """Writes down what is asked of torch.cuda."""

    def __init__(self, monkeypatch):
        self.calls = []
        self.current = self.Stream(self, 'current')
        monkeypatch.setattr(torch.cuda, 'Stream', lambda device: self.Stream(self, 'side'))
        monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: self.current)
        monkeypatch.setattr(torch.cuda, 'stream', self.Within)
        self.Within.calls = self.calls

    class Stream:
        device = torch.device('cuda', 0)

        def __init__(self, owner, name):
            self.owner, self.name = owner, name

        def wait_stream(self, other):
            self.owner.calls.append(f'{self.name} waits for {other.name}')

        def wait_event(self, event):
            self.owner.calls.append(f'{self.name} waits for {event}')

        def record_event(self):
            self.owner.calls.append(f'{self.name} records')
            return 'event'

    class Within:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            self.calls.append(f'in {self.stream.name}')

        def __exit__(self, *args):
            self.calls.append('out')

    def tensor(self, name):
        owner = self

        class Tensor:
            device = torch.device('cuda', 0)

            def record_stream(self, stream):
                owner.calls.append(f'{name} used in {stream.name}')

        return Tensor()


def test_a_side_stream_step_by_step(monkeypatch):
    cuda = Cuda(monkeypatch)
    side = SideStream(True)
    images, features = cuda.tensor('images'), {'out': cuda.tensor('features')}

    def forward(x):
        cuda.calls.append('forward')
        return features

    pending = side(forward, images)
    assert cuda.calls == [
        'side waits for current',
        'in side',
        'forward',
        'images used in side',
        'side records',
        'out',
    ]
    cuda.calls.clear()
    assert pending.wait() is features
    assert cuda.calls == ['current waits for event', 'features used in current']
    pending.wait()
    assert len(cuda.calls) == 2, 'waits once'
    side.join()
    assert cuda.calls[-1] == 'current waits for side'


def test_without_a_side_stream_nothing_is_asked_of_cuda(monkeypatch):
    cuda = Cuda(monkeypatch)
    SideStream(False)(lambda x: {}, cuda.tensor('images')).wait()
    assert cuda.calls == []


def test_on_a_processor_it_says_once_that_it_does_nothing(monkeypatch):
    told = []
    monkeypatch.setattr(runtime, 'print_log', lambda message, **kwargs: told.append(message))
    side = SideStream(True, 'T')
    for _ in range(3):
        assert side(_double, torch.ones(1))._event is None
    side.join()
    assert told == ["T: stream=True needs a CUDA device and does nothing on 'cpu'."]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_real_side_stream():
    images = torch.rand(4, 64, 64, device='cuda')
    side = SideStream(True)
    pending = side(lambda x: {'out': torch.linalg.matrix_power(x, 3)}, images)
    busy = images @ images
    expected = torch.linalg.matrix_power(images, 3)
    torch.testing.assert_close(pending.wait()['out'], expected)
    assert busy.shape == images.shape


def test_pending_features_are_there():
    features = {'a': torch.ones(1)}
    assert Pending(features).wait() is features


def test_all_switches_at_once():
    calls = []

    def prepare(images):
        calls.append(len(images))
        return images + 1

    images = torch.rand(4, 3, 2, 2)
    run = Runtime(micro_batch=3, stream=True)
    assert torch.equal(run.launch(prepare, _double, images).wait()['out'], (images + 1) * 2)
    assert calls == [2, 2]


class Error(RuntimeError):
    pass


Error.__module__ = 'torch._dynamo.exc'


def test_only_the_network_is_compiled_and_once(monkeypatch):
    seen = []

    def fake(function, **options):
        seen.append((function, options))
        return lambda x: {'out': x * 7}

    monkeypatch.setattr(torch, 'compile', fake, raising=False)
    run = Runtime(compile=dict(mode='max-autotune'))
    for _ in range(2):
        found = run.launch(lambda x: x + 1, _double, torch.ones(1, 1)).wait()
        assert found['out'].item() == 14
    assert seen == [(_double, {'mode': 'max-autotune'})]
    run.reset()
    run.launch(_identity, _double, torch.ones(1, 1))
    assert len(seen) == 2


def test_a_torch_that_cannot_compile(monkeypatch):
    def fake(function, **options):
        raise RuntimeError('Python 9 not yet supported\nmore')

    monkeypatch.setattr(torch, 'compile', fake, raising=False)
    with pytest.raises(MMKDError, match='T: compile=True is not possible.*Python 9 not yet sup'):
        Runtime(compile=True, owner='T').launch(_identity, _double, torch.ones(1))


def test_a_network_that_cannot_be_compiled(monkeypatch):
    errors = [Error('no C++ compiler'), ValueError('its own')]

    def fake(function, **options):
        def call(x):
            raise errors.pop(0)

        return call

    monkeypatch.setattr(torch, 'compile', fake, raising=False)
    run = Runtime(compile=True, owner='T')
    with pytest.raises(MMKDError, match='no C.. compiler.*another backend'):
        run.launch(_identity, _double, torch.ones(1))
    with pytest.raises(ValueError, match='its own'):
        run.launch(_identity, _double, torch.ones(1))


def test_compile_is_a_switch_or_options():
    with pytest.raises(MMKDError, match="compile=True, or a dict.*'max-autotune'"):
        Runtime(compile='max-autotune')


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_the_switches_alone(clone):
    run = Runtime(micro_batch=2, compile={'backend': 'eager'}, stream=True, owner='T')
    run._compiled = lambda x: x
    run.side._stream = object()
    other = clone(run)
    assert other._compiled is None
    assert other.side._stream is None
    assert other.side.wanted
    assert other.micro_batch.size == 2
    assert other.compile_options == {'backend': 'eager'}


def test_the_log_is_an_ordinary_one(caplog):
    with caplog.at_level(logging.INFO):
        SideStream(True)(_double, torch.ones(1))
