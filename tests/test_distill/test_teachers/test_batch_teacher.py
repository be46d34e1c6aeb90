import copy
import logging
import pickle
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from mmkd.distill.distillers.pool import TeacherPool
from mmkd.distill.teachers import BatchTeacher
from mmkd.distill.teachers.bundle import Bundle
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..toys import PREPROCESSOR, ToyStudent


class TrackToyPairs(BaseDataPreprocessor):
    """Settings as mmtrack's preprocessor has them."""

    def __init__(self, mean=None, std=None, divisor=1, bgr_to_rgb=False):
        super().__init__()
        self._enable_normalize = mean is not None
        if mean is not None:
            self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), False)
            self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), False)
        self.pad_size_divisor = divisor
        self.channel_conversion = bgr_to_rgb


@MODELS.register_module(force=True)
class ToyPairs(BaseModel):
    """Reads a template and a search region with one backbone, as Siamese trackers do."""

    def __init__(self, data_preprocessor=None, width=4, fail=None):
        super().__init__()
        self.data_preprocessor = TrackToyPairs(**(data_preprocessor or {}))
        self.backbone = nn.Conv2d(3, width, 3, stride=2)
        self.neck = nn.ModuleList([nn.Conv2d(width, 6, 1), nn.Conv2d(width, 5, 1)])
        self.join = nn.Conv2d(6, 8, 1)
        self.head = Two()
        self.fail = fail
        self.ran = []

    def extract(self, image):
        x = self.backbone(image)
        return [conv(x) for conv in self.neck]

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if self.fail is not None:
            raise self.fail('no tensor')
        z = self.extract(inputs['img'][:, 0])[0]
        x = self.extract(inputs['search_img'][:, 0])[0]
        self.ran.append('head')
        return self.head(self.join(x), self.join(z).mean((2, 3), keepdim=True))


class Two(nn.Module):
    def forward(self, x, z):
        joined = x * z
        return joined[:, :2], joined[:, 2:]


PAIRS = {'type': 'ToyPairs'}
NAMES = ['neck.0@1', 'head[0]', 'neck.0', 'neck.1@0']


def _teacher(config=None, weights='random', request=NAMES, **kwargs):
    teacher = BatchTeacher(copy.deepcopy(config or PAIRS), weights=weights, **kwargs)
    teacher.request(request)
    return teacher


def _inputs(n=3):
    generator = torch.Generator().manual_seed(1)
    sizes = {'img': (20, 20), 'search_img': (36, 36)}
    return {
        name: torch.rand(n, 1, 3, *size, generator=generator) * 255 for name, size in sizes.items()
    }


def _reference(net, inputs):
    """What the model gives, run by hand on its own input."""
    with torch.no_grad():
        z = net.extract(inputs['img'][:, 0])
        x = net.extract(inputs['search_img'][:, 0])
        cls, _ = net.head(net.join(x[0]), net.join(z[0]).mean((2, 3), keepdim=True))
    return {'neck.0@1': x[0], 'head[0]': cls, 'neck.0': z[0], 'neck.1@0': z[1]}


def _same(features, expected, **tolerance):
    # Pixels are 0..255, and other batch sizes are summed in another order.
    tolerance = tolerance or dict(atol=2e-2, rtol=1e-5)
    assert set(features) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(features[name], value, **tolerance)


def test_reads_every_entry_and_keeps_runs_apart():
    teacher = _teacher()
    features = teacher.read(_inputs()).wait()
    bgr = {name: value.flip(2) for name, value in _inputs().items()}
    _same(features, _reference(teacher.net, bgr))
    assert not torch.equal(features['neck.0@1'][:, :, :9, :9], features['neck.0'])
    assert not any(value.requires_grad for value in features.values())
    # forward() is the same.
    _same(teacher(_inputs()), features)


def test_each_entry_is_normalised_and_padded_as_the_models_own_preprocessor():
    mean, std = [100.0, 50.0, 20.0], [2.0, 3.0, 4.0]
    own = dict(mean=mean, std=std, divisor=16, bgr_to_rgb=True)
    teacher = _teacher({**PAIRS, 'data_preprocessor': own})
    features = teacher.read(_inputs()).wait()
    made = {}
    for (name, value), side in zip(_inputs().items(), (32, 48)):
        made[name] = torch.zeros(3, 1, 3, side, side)
        h, w = value.shape[-2:]
        normal = (value - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        made[name][..., :h, :w] = normal
    _same(features, _reference(teacher.net, made), atol=1e-4, rtol=1e-4)


def test_knows_shapes_without_a_network():
    teacher = _teacher()
    assert teacher.channels == {'neck.0@1': 6, 'head[0]': 2, 'neck.0': 6, 'neck.1@0': 5}
    # 127 -> 63, 255 -> 127: the second run is of the search region, the head has its grid.
    assert teacher.strides['neck.0@1'] == pytest.approx(255 / 127)
    assert teacher.strides['neck.0'] == pytest.approx(127 / 63)
    assert teacher.strides['head[0]'] == pytest.approx(255 / 127)
    assert not teacher.loaded
    assert not list(teacher.parameters())
    # One entry is enough to reach the first run, but it is not what the model reads.
    first = _teacher(request=['backbone'])
    assert first.strides == {'backbone': pytest.approx(127 / 63)}
    assert first.read(_inputs()).wait()['backbone'].shape == (3, 4, 9, 9)
    given = dict(img=(1, 1, 3, 11, 11), search_img=(1, 1, 3, 21, 21))
    assert _teacher(dry_input=given).strides['neck.0@1'] == pytest.approx(21 / 10)


def test_knows_shapes_where_a_later_part_fails():
    class Broken(ToyPairs):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            super().forward(inputs)
            raise RuntimeError('data_samples is None')

    MODELS.register_module(module=Broken, force=True)
    teacher = _teacher({'type': 'Broken'})
    assert teacher.channels['head[0]'] == 2
    # It stops before.
    assert teacher.read(_inputs()).wait()['head[0]'].shape == (3, 2, 17, 17)


def test_stops_at_the_deepest_tap():
    teacher = _teacher(request=['neck.0@1'])
    _ = teacher.channels
    teacher.read(_inputs()).wait()
    assert teacher.net.ran == []
    assert not any(module._forward_hooks for module in teacher.net.modules())


def test_short_names():
    teacher = _teacher(taps={'x': 'neck.0@1', 'z': dict(path='neck.0', call=0)}, request=['x', 'z'])
    found = teacher.read(_inputs()).wait()
    expected = _teacher().read(_inputs()).wait()
    assert torch.equal(found['x'], expected['neck.0@1'])
    assert torch.equal(found['z'], expected['neck.0'])


@pytest.mark.parametrize('pieces', [1, 2])
def test_a_batch_in_pieces_is_the_whole_batch(pieces):
    whole = _teacher().read(_inputs()).wait()
    sizes = []
    teacher = _teacher(micro_batch=pieces)
    teacher.load()
    _ = teacher.channels
    teacher.net.backbone.register_forward_hook(lambda m, args, out: sizes.append(len(out)))
    _same(teacher.read(_inputs()).wait(), whole)
    assert max(sizes) == pieces
    assert sum(sizes) == 2 * 3


def test_a_memory_budget_measures_samples(caplog):
    with caplog.at_level(logging.INFO):
        teacher = _teacher(memory_budget='60KB')
        _same(teacher.read(_inputs()).wait(), _teacher().read(_inputs()).wait())
    assert teacher.runtime.micro_batch._costs


@pytest.mark.parametrize('index', [[0], [2, 0]])
def test_a_part_of_a_batch_has_the_features_that_it_has_within_it(index):
    teacher = _teacher()
    whole = teacher.read(_inputs()).wait()
    part = teacher.read({name: value[index] for name, value in _inputs().items()}).wait()
    _same(part, {name: value[index] for name, value in whole.items()})


@pytest.mark.parametrize('dtype', ['bf16', 'fp16'])
def test_computes_in_its_own_type(dtype):
    teacher = _teacher(dtype=dtype)
    try:
        features = teacher.read(_inputs()).wait()
    except RuntimeError as error:
        pytest.skip(f'this torch has no such convolution here: {error}')
    assert {value.dtype for value in features.values()} == {teacher.dtype}
    exact = _teacher().read(_inputs()).wait()
    torch.testing.assert_close(features['neck.0'].float(), exact['neck.0'], atol=4, rtol=0.05)


def test_works_in_a_pool():
    pool = TeacherPool(
        teachers={'general': dict(type='mmkd.BatchTeacher', config=dict(PAIRS), weights='random')}
    )
    name, feature = pool.split('general.neck.0@1')
    pool[name].check([feature, 'head[0]'])
    pool[name].request([feature, 'head[0]'])
    assert pool[name].channels == {'neck.0@1': 6, 'head[0]': 2}
    student = ToyPairs().double()
    pool.load([name], student)
    teacher = pool[name]
    features = teacher.read({k: v.double() for k, v in _inputs().items()}).wait()
    assert features['head[0]'].dtype == torch.float64
    before = teacher.identity()
    assert before.hash == teacher.fingerprint()
    assert before.preprocessing['channel_order'] == 'bgr'
    other = copy.deepcopy(pool)
    assert other[name] is teacher
    teacher.release()
    assert not teacher.loaded
    pool.load([name], student)
    again = teacher.read({k: v.double() for k, v in _inputs().items()}).wait()
    assert torch.equal(again['head[0]'], features['head[0]'])


@pytest.mark.parametrize('loaded', [False, True])
def test_survives_copies_and_pickles(loaded):
    teacher = _teacher()
    expected = _teacher().read(_inputs()).wait()
    if loaded:
        teacher.load()
        _ = teacher.channels
    for other in (copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))):
        _same(other.read(_inputs()).wait(), expected)


def test_a_model_of_single_images_reads_them_from_either_structure():
    student = {'type': 'ToyStudent', 'data_preprocessor': dict(PREPROCESSOR)}
    teacher = _teacher(student, request=['neck[0]'])
    images = _inputs()['search_img'][:, 0]
    expected = teacher.read(images).wait()['neck[0]']
    assert teacher.channels == {'neck[0]': 10}
    for structure in (images[:, None], images):
        assert torch.equal(teacher.read({'img': structure}).wait()['neck[0]'], expected)
    with pytest.raises(MMKDError, match=r'reads one image of a sample.*search_img: \(3, 1, 3, 36'):
        teacher.read(_inputs())
    with pytest.raises(MMKDError, match='reads one image of a sample'):
        teacher.read({'img': images[:, None].expand(-1, 2, -1, -1, -1)})


def test_what_it_lacks_is_told():
    teacher = _teacher()
    with pytest.raises(MMKDError, match="reads the entries 'img', 'search_img'.*reads 'img'"):
        teacher.read({'img': _inputs()['img']})
    with pytest.raises(MMKDError, match="'img', 'search_img', but the student reads one tensor"):
        teacher.read(_inputs()['img'][:, 0])


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ({'img': torch.zeros(2, 4, 8, 8)}, r"'img' is \(2, 4, 8, 8\)"),
        ({'img': torch.zeros(2, 3, 8, 8), 'meta': 'x'}, "'meta' is str"),
        (
            {'img': torch.zeros(2, 3, 8, 8), 'ref': torch.zeros(3, 3, 8, 8)},
            r'the same samples.*img: \(2, 3, 8, 8\), ref: \(3, 3, 8, 8\)',
        ),
        ({}, 'the same samples'),
    ],
)
def test_wrong_inputs_are_told(entries, message):
    with pytest.raises(MMKDError, match=message):
        _teacher().read(entries)


def test_wrong_taps_are_told():
    with pytest.raises(MMKDError, match="no module 'nekc.0'.*Did you mean 'neck.0'"):
        _teacher(request=['nekc.0@1'])
    with pytest.raises(MMKDError, match='runs them less than 3 time'):
        _ = _teacher(request=['neck.0@2']).channels
    teacher = _teacher(request=['head'])
    with pytest.raises(MMKDError, match=r"Choose one of 'head\[0\]', 'head\[1\]'"):
        _ = teacher.channels


@pytest.mark.parametrize('error', [NotImplementedError, AttributeError])
def test_a_model_without_tensor_mode_is_told_what_to_take(error):
    class Untapped(ToyPairs):
        def __init__(self):
            super().__init__(fail=error)

    MODELS.register_module(module=Untapped, force=True)
    with pytest.raises(MMKDError, match=rf'{error.__name__}: no tensor.*mmkd.SiamRPN') as caught:
        _ = _teacher({'type': 'Untapped'}).channels
    assert "options={'model.type': 'mmkd.SiamRPN'}" in str(caught.value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'input_size': (32, 32)}, 'one factor on all entries'),
        ({'dry_input': {'img': 127}}, r'dry_input=dict\(img='),
        ({'dry_input': (3, 8, 8)}, r'dry_input=dict\(img='),
        ({'weights': None}, "'random'"),
        ({'compile': True}, 'cannot be compiled'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        _teacher(**options)


def test_features_of_more_rows_than_samples_are_not_cut():
    class Frames(ToyStudent):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return self.head(self.neck(self.backbone(inputs['img'].flatten(0, 1)))[0])

    MODELS.register_module(module=Frames, force=True)
    config = {'type': 'Frames', 'data_preprocessor': dict(PREPROCESSOR)}
    clips = {'img': _inputs()['img'].expand(-1, 2, -1, -1, -1)}
    assert _teacher(config, request=['neck[0]']).read(clips).wait()['neck[0]'].shape[0] == 6
    with pytest.raises(MMKDError, match='2 rows for 1 samples.*Leave micro_batch'):
        _teacher(config, request=['neck[0]'], micro_batch=1).read(clips)


# What carries the entries.


def test_a_bundle_is_cut_as_a_tensor_is():
    entries = {'a': torch.arange(7.0).view(7, 1, 1, 1).expand(-1, 3, 2, 2), 'b': None}
    entries['b'] = entries['a'][:, None] + 100
    bundle = Bundle(entries)
    assert len(bundle) == 7
    assert bundle.shape == (7, ('a', 'b'), (3, 2, 2), (1, 3, 2, 2))
    assert bundle.device.type == 'cpu'
    for parts in (1, 2, 3):
        pieces = bundle.tensor_split(parts)
        assert [len(piece) for piece in pieces] == [
            len(piece) for piece in entries['a'].tensor_split(parts)
        ]
        for name in entries:
            assert torch.equal(torch.cat([p.entries[name] for p in pieces]), entries[name])
    assert torch.equal(bundle[2:4].entries['b'], entries['b'][2:4])


def test_a_bundle_is_remembered_by_the_stream_that_reads_it():
    seen = []
    bundle = Bundle({'a': torch.zeros(2, 3, 2, 2), 'b': torch.zeros(2, 3, 4, 4)})
    streams = {name: SimpleNamespace(record_stream=seen.append) for name in bundle.entries}
    bundle.entries = streams
    bundle.record_stream('side')
    assert seen == ['side', 'side']
