import copy
import logging
import pickle

import pytest
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from mmkd.distill.teachers import ModelTeacher
from mmkd.distill.teachers.model_config import read_model, without_initial_weights
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..toys import PREPROCESSOR, ToyStudent, config

STUDENT = {'type': 'ToyStudent', 'data_preprocessor': dict(PREPROCESSOR)}


@MODELS.register_module(force=True)
class ToyClips(BaseModel):
    """Reads clips, as mmtrack's models do, and one module twice."""

    def __init__(self, data_preprocessor=None, width=4):
        super().__init__(TrackToyPreprocessor())
        self.backbone = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.head = nn.Conv2d(width, 2, 1)
        self.ran = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        images = inputs['img'][:, 0]
        first = self.backbone(images)
        second = self.backbone(-images)
        self.ran.append('head')
        return self.head(first + second)


class TrackToyPreprocessor(BaseDataPreprocessor):
    """Neither normalises nor swaps channels: its model reads BGR as files have it."""


def _checkpoint(path, model=None, **extra):
    model = model or _trained()
    torch.save({'state_dict': {**model.state_dict(), **extra}, 'meta': {'epoch': 1}}, path)
    return str(path)


def _trained():
    torch.manual_seed(4)
    return ToyStudent(dict(PREPROCESSOR)).eval()


def _teacher(config=None, weights='random', **kwargs):
    return ModelTeacher(copy.deepcopy(config or STUDENT), weights=weights, **kwargs)


def _images(height=32, width=48):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


def test_gives_what_the_model_gives(tmp_path):
    model = _trained()
    teacher = _teacher(weights=_checkpoint(tmp_path / 'w.pth'))
    teacher.request(['backbone', 'neck[1]', 'backbone.0'])
    images = _images()
    features = teacher(images)
    # As its data preprocessor makes it of the file's BGR.
    data = {'inputs': [image.flip(0) for image in images], 'data_samples': [None] * 2}
    inputs = model.data_preprocessor(data)['inputs']
    with torch.no_grad():
        backbone = model.backbone(inputs)
        torch.testing.assert_close(features['backbone'], backbone, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            features['neck[1]'], model.neck(backbone)[1], atol=1e-4, rtol=1e-4
        )
    assert features['backbone.0'].shape == (2, 6, 8, 12)


def test_knows_shapes_without_a_network():
    teacher = _teacher()
    teacher.check(['neck[0]', 'backbone'])
    assert teacher.channels == {'neck[0]': 10, 'backbone': 6}
    assert teacher.strides == {'neck[0]': 4, 'backbone': 4}
    assert not list(teacher.parameters())
    assert {p.device.type for p in teacher._skeleton[0].parameters()} == {'meta'}
    assert not teacher.loaded


class Curious(ToyStudent):
    """Its constructor looks into its weights."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.scale = float(self.head.weight.sum())


class NoMeta(ToyStudent):
    """Has an operator that the meta device lacks."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        float(inputs.sum())
        return super().forward(inputs, data_samples, mode)


@pytest.mark.parametrize('kind', [Curious, NoMeta])
def test_a_model_that_needs_memory_gets_it(kind):
    MODELS.register_module(module=kind, force=True)
    before = torch.get_rng_state()
    teacher = _teacher({'type': kind.__name__})
    teacher.request(['neck[0]'])
    assert teacher.channels == {'neck[0]': 10}
    assert torch.equal(torch.get_rng_state(), before)
    assert teacher(_images())['neck[0]'].shape == (2, 10, 8, 12)


def test_what_is_made_for_shapes_leaves_no_trace():
    _teacher().check(['neck[0]'])
    assert nn.Conv2d(3, 4, 1).weight.device.type == 'cpu'


def test_stops_at_the_deepest_tap():
    teacher = _teacher()
    teacher.request(['neck[0]'])
    teacher.load()
    ran = []
    teacher.net.head.register_forward_pre_hook(lambda *args: ran.append('head'))
    teacher(_images())
    assert ran == []
    # What is read is the same as without stopping.
    whole = _teacher()
    whole.request(['neck[0]', 'head'])
    assert torch.equal(teacher(_images())['neck[0]'], whole(_images())['neck[0]'])
    assert not any(module._forward_hooks for module in teacher.net.modules())


def test_an_error_of_the_model_is_the_models_own():
    teacher = _teacher()
    teacher.request(['neck[0]'])
    teacher.load()(_images())

    def fail(module, args):
        raise ZeroDivisionError('own')

    teacher.net.neck.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError, match='own'):
        teacher(_images())
    assert not any(module._forward_hooks for module in teacher.net.modules())


def test_clips_are_read_and_runs_kept_apart():
    taps = {'one': 'backbone', 'two': {'path': 'backbone', 'call': 1}}
    teacher = _teacher({'type': 'ToyClips'}, taps=taps)
    teacher.request(['two', 'one'])
    assert teacher.channels == {'two': 4, 'one': 4}
    features = teacher(_images())
    assert teacher.net.ran == []
    x = teacher.preprocess(_images())
    torch.testing.assert_close(features['one'], teacher.net.backbone(x))
    torch.testing.assert_close(features['two'], teacher.net.backbone(-x))
    # BGR, as nothing swaps it.
    assert torch.equal(x, _images().flip(1))
    third = _teacher({'type': 'ToyClips'}, taps={'three': {'path': 'backbone', 'call': 2}})
    third.request(['three'])
    with pytest.raises(MMKDError, match=r"'backbone' ran 2 time.*run 2 \(from 0\)"):
        third(_images())


def test_only_named_taps_can_be_asked_for():
    teacher = _teacher(taps={'map': 'neck[0]'})
    with pytest.raises(MMKDError, match="no feature 'mapp'.*Did you mean 'map'"):
        teacher.check(['mapp'])
    teacher.request(['map'])
    assert teacher(_images())['map'].shape == (2, 10, 8, 12)
    listed = _teacher(taps=['neck[0]'])
    listed.check(['neck[0]'])
    with pytest.raises(MMKDError, match="no feature 'neck\\[1\\]'"):
        listed.check(['neck[1]'])


def test_vectors_are_features():
    class Pooled(ToyStudent):
        def __init__(self, data_preprocessor=None):
            super().__init__(data_preprocessor)
            self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return self.pool(self.neck(self.backbone(inputs))[0])

    MODELS.register_module(module=Pooled, force=True)
    teacher = _teacher({'type': 'Pooled'})
    teacher.request(['pool'])
    assert teacher.channels == {'pool': 10}
    assert teacher(_images())['pool'].shape == (2, 10)


def test_pads_as_the_models_preprocessor():
    padded = dict(STUDENT, data_preprocessor=dict(PREPROCESSOR, pad_size_divisor=32))
    teacher = _teacher(padded)
    assert (teacher.patch, teacher.fit, teacher.channel_order) == (32, 'pad', 'rgb')
    assert teacher.target_size((33, 48)) == (64, 64)
    assert teacher.extent((33, 48)) == (64, 64)
    torch.testing.assert_close(teacher.mean.flatten(), torch.tensor(PREPROCESSOR['mean']))
    torch.testing.assert_close(teacher.std.flatten(), torch.tensor(PREPROCESSOR['std']))
    bgr = dict(STUDENT, data_preprocessor=dict(PREPROCESSOR, bgr_to_rgb=False))
    assert _teacher(bgr).channel_order == 'bgr'
    assert _teacher(padded, fit='resize').target_size((65, 70)) == (64, 64)


def test_a_preprocessor_that_the_model_chooses_is_found_when_it_is_loaded():
    teacher = _teacher({'type': 'ToyStudent'})
    assert teacher.load().patch == 1
    torch.testing.assert_close(teacher.mean.flatten(), torch.tensor(PREPROCESSOR['mean']))


# Configs.


def test_configs_of_every_kind(tmp_path):
    path = tmp_path / 'student.py'
    path.write_text(f'default_scope = "mmkd"\nmodel = {STUDENT!r}\n')
    expected = _teacher().load().fingerprint()
    assert _teacher(str(path)).load().fingerprint() == expected
    assert _teacher({'model': STUDENT}).load().fingerprint() == expected
    # mmengine's Runner puts it there.
    apart = {
        'model': {'type': 'ToyStudent'},
        'data_preprocessor': dict(PREPROCESSOR, pad_size_divisor=4),
    }
    assert _teacher(apart).patch == 4


def test_of_a_distillers_config_it_is_the_student():
    cfg = config(student=STUDENT)
    teacher = _teacher({'model': cfg})
    assert teacher.describe() == 'ToyStudent, RANDOM weights'
    twice = {'type': 'mmkd.FeatureDistiller', 'student': cfg, 'teachers': {}}
    assert _teacher({'model': twice}).load().fingerprint() == teacher.load().fingerprint()
    outer = config(
        student={'type': 'ToyStudent'}, data_preprocessor={'type': 'BaseDataPreprocessor'}
    )
    assert read_model({'model': outer})['data_preprocessor'] == {'type': 'BaseDataPreprocessor'}


def test_options_change_the_config():
    teacher = _teacher({'type': 'ToyClips'}, options={'model.width': 7})
    teacher.check(['backbone'])
    assert teacher.channels == {'backbone': 7}


@MODELS.register_module(force=True)
class Downloads(ToyStudent):
    def __init__(self, data_preprocessor=None, pretrained=None, init_cfg=None):
        super().__init__(data_preprocessor)
        if pretrained or init_cfg:
            raise AssertionError(f'downloads {pretrained or init_cfg}')


def test_nothing_is_downloaded():
    init = {'type': 'Pretrained', 'checkpoint': 'https://example.org/w.pth'}
    cfg = {
        'type': 'X',
        'pretrained': 'torchvision://resnet50',
        'init_cfg': [init],
        'backbone': {'pretrained': True, 'init_cfg': dict(init), 'stages': [{'init_cfg': init}]},
        'neck': {'init_cfg': {'type': 'Xavier'}},
    }
    kept = copy.deepcopy(cfg)
    assert without_initial_weights(cfg) == {
        'type': 'X',
        'pretrained': None,
        'backbone': {'pretrained': False, 'stages': [{}]},
        'neck': {'init_cfg': {'type': 'Xavier'}},
    }
    assert cfg == kept
    for more in ({'pretrained': 'torchvision://resnet50'}, {'init_cfg': init}):
        with pytest.raises(AssertionError, match='downloads'):
            MODELS.build({'type': 'Downloads', **more})
        _teacher({'type': 'Downloads', **more}).load()


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        ('studnet.py', "no config '.*studnet.py'.*Did you mean 'student.py'"),
        ('broken.py', 'cannot be read.*own mistake'),
        ('empty.py', r'has no model=dict'),
        ('nowhere::a.py', "package 'nowhere', not installed"),
        ('mmengine::no/such.py', 'cannot be read'),
        (7, 'or a dict, but got 7'),
        ({'a': 1}, r'has no model=dict'),
        ({'model': {'type': 'D', 'student': 3, 'teacher': 3}}, 'is no config'),
    ],
)
def test_wrong_configs_are_told(tmp_path, cfg, message):
    (tmp_path / 'student.py').write_text(f'model = {STUDENT!r}')
    (tmp_path / 'broken.py').write_text('raise ValueError("own mistake")')
    (tmp_path / 'empty.py').write_text('a = 1')
    if isinstance(cfg, str) and '::' not in cfg:
        cfg = str(tmp_path / cfg)
    with pytest.raises(MMKDError, match=message):
        ModelTeacher(cfg, weights='random')


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        ({'type': 'NoSuchModel'}, "'NoSuchModel' of the teacher cannot be built"),
        ({'type': 'ToyStudent', 'depth': 3}, 'cannot be built.*depth'),
        ({'type': 'FeatureTransform', 'in_channels': 1, 'out_channels': 1}, 'OpenMMLab model'),
    ],
)
def test_wrong_models_are_told(cfg, message):
    with pytest.raises(MMKDError, match=message):
        _teacher(cfg).check(['neck'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'weights': None}, "'random'"),
        ({'taps': 'neck'}, 'taps=dict'),
        ({'taps': {}}, 'taps=dict'),
        ({'taps': {'a': {'path': 'neck', 'calls': 1}}}, "no 'calls'.*'call'"),
        ({'taps': {'a': {'path': 'neck', 'call': -1}}}, 'call=-1'),
        ({'taps': {'a': {'call': 1}}}, 'needs path='),
        ({'compile': True}, 'cannot be compiled'),
        ({'dtype': 'fp8'}, 'no dtype'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        _teacher(**{'weights': 'random', **options})


def test_a_wrong_tap_is_the_teachers():
    with pytest.raises(MMKDError, match=r"no module 'neckk' in the teacher.*'neck'.*Children of"):
        _teacher().check(['neckk'])
    teacher = _teacher()
    teacher.check(['neck'])
    with pytest.raises(MMKDError, match=r"Choose one of 'neck\[0\]', 'neck\[1\]'"):
        _ = teacher.channels


def test_a_model_without_tensor_mode_is_told():
    teacher = _teacher({'type': 'ToyStudent', 'fail_dry': True})
    teacher.check(['neck[0]'])
    with pytest.raises(MMKDError, match="shapes of 'neck\\[0\\]'.*NotImplementedError: no tensor"):
        _ = teacher.channels


# Checkpoints.


def test_weights_are_loaded_and_more_is_fine(tmp_path, caplog):
    model = _trained()
    extra = {'distill.neck.transform.weight': torch.zeros(2), 'other': torch.zeros(1)}
    path = _checkpoint(tmp_path / 'w.pth', model, **extra)
    teacher = _teacher(weights=path).load()
    state = teacher.net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not teacher.is_random
    ddp = {f'module.{key}': value for key, value in model.state_dict().items()}
    torch.save(ddp, tmp_path / 'ddp.pth')
    other = _teacher(weights=str(tmp_path / 'ddp.pth')).load()
    assert other.fingerprint() == teacher.fingerprint()


def test_a_teacher_never_runs_with_half_its_weights(tmp_path):
    state = _trained().state_dict()
    kept = {k: v for k, v in state.items() if not k.startswith('neck')}
    torch.save({'state_dict': kept}, tmp_path / 'half.pth')
    teacher = _teacher(weights=str(tmp_path / 'half.pth'))
    teacher.request(['backbone'])
    with pytest.raises(MMKDError, match="lacks 2 of the .*'neck.lateral.weight', 'neck.lateral.b"):
        teacher(_images())
    assert not teacher.loaded
    state['head.weight'] = torch.zeros(5, 5)
    torch.save({'state_dict': state}, tmp_path / 'shape.pth')
    with pytest.raises(MMKDError, match=r"'head.weight' of shape \(5, 5\)"):
        _teacher(weights=str(tmp_path / 'shape.pth')).load()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('best.pht', "no checkpoint '.*best.pht'.*Did you mean 'best.pth'"),
        ('text.pth', 'cannot be read as a checkpoint'),
        ('empty.pth', 'holds no weights'),
    ],
)
def test_wrong_checkpoints_are_told(tmp_path, name, message):
    _checkpoint(tmp_path / 'best.pth')
    (tmp_path / 'text.pth').write_text('<html>')
    torch.save({'epoch': 3}, tmp_path / 'empty.pth')
    with pytest.raises(MMKDError, match=message):
        _teacher(weights=str(tmp_path / name)).load()


def test_random_is_announced_and_always_the_same(caplog):
    with caplog.at_level(logging.WARNING):
        first = _teacher().load().fingerprint()
    torch.manual_seed(8)
    assert _teacher().load().fingerprint() == first


@pytest.mark.parametrize('loaded', [False, True])
def test_survives_copies_and_pickles(tmp_path, loaded):
    teacher = _teacher(weights=_checkpoint(tmp_path / 'w.pth'))
    teacher.request(['neck[0]'])
    assert teacher.channels['neck[0]'] == 10
    if loaded:
        teacher.load()
    expected = _teacher(weights=_checkpoint(tmp_path / 'w.pth'))
    expected.request(['neck[0]'])
    expected = expected(_images())['neck[0]']
    for other in (copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))):
        assert torch.equal(other(_images())['neck[0]'], expected)
