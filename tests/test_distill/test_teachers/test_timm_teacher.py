import importlib

import pytest
import timm
import torch

from mmkd.distill.teachers import TimmTeacher
from mmkd.errors import MMKDError

# Small relatives of what people use, made smaller still.
MODELS = {
    'resnet18': {'channels': (8, 8, 16, 16)},
    'convnext_atto': {'depths': (1, 1, 1, 1), 'dims': (8, 8, 16, 16)},
    'vit_tiny_patch16_224': {'depth': 3, 'embed_dim': 24, 'num_heads': 2},
    'vit_small_patch16_dinov3': {'depth': 3, 'embed_dim': 32, 'num_heads': 2},
    'swin_tiny_patch4_window7_224': {'depths': (1, 1, 1, 1), 'embed_dim': 8, 'num_heads': (1,) * 4},
    'beit_base_patch16_224': {'depth': 3, 'embed_dim': 24, 'num_heads': 2},
    'mobilenetv4_conv_small_035': {},
    'efficientnet_lite0': {},
}
FIXED = 'beit_base_patch16_224'


def _teacher(name='resnet18', weights='random', **kwargs):
    options = {**MODELS.get(name, {}), **kwargs.pop('options', {})}
    return TimmTeacher(name, weights=weights, options=options, **kwargs)


def _network(name):
    """A trained-looking network, its classifier included."""
    torch.manual_seed(1)
    net = timm.create_model(name, **MODELS[name])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for buffer in net.buffers():
            if buffer.is_floating_point() and buffer.dim() == 1:
                buffer.add_(torch.rand_like(buffer))
    return net.eval()


def _images(height=64, width=96):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize('name', MODELS)
def test_features_are_what_feature_info_says(name):
    teacher = _teacher(name)
    promised = dict(teacher.channels), dict(teacher.strides)
    # Nothing was made for that.
    assert not list(teacher.parameters())
    teacher.request(list(teacher.channels))
    images = _images(128, 160)
    height, width = teacher.target_size((128, 160))
    features = teacher(images)
    assert set(features) == set(promised[0])
    for feature, value in features.items():
        stride = promised[1][feature]
        assert value.shape == (2, promised[0][feature], height // stride, width // stride), feature
    info = timm.create_model(name, **MODELS[name]).feature_info
    info = info if isinstance(info, list) else info.info
    numbered = [feature for feature in promised[0] if feature != 'last']
    assert [promised[0][feature] for feature in numbered] == [item['num_chs'] for item in info]
    assert {feature.split('_')[0] for feature in numbered} == {
        'block' if name.startswith(('vit', 'beit')) else 'stage'
    }


@pytest.mark.parametrize('name', MODELS)
def test_last_is_what_the_whole_network_gives(name, tmp_path):
    net = _network(name)
    path = tmp_path / 'w.pth'
    torch.save(net.state_dict(), path)
    teacher = _teacher(name, str(path))
    # Swin's windows depend on the size that it was made for.
    images = _images(224, 224) if name.startswith('swin') else _images()
    found = teacher(images)['last']
    x = teacher.preprocess(images)
    if name.startswith('vit'):
        # One that was made for this size, and whose positions are resampled once.
        net = timm.create_model(name, **MODELS[name], img_size=tuple(x.shape[2:])).eval()
        convert = importlib.import_module(type(net).__module__).checkpoint_filter_fn
        timm.models.load_checkpoint(net, str(path), filter_fn=convert)
    with torch.no_grad():
        whole = net.forward_features(x)
    grid = found.shape[2:]
    if whole.dim() == 3:
        tokens = whole[:, getattr(net, 'num_prefix_tokens', 0) :]
        whole = tokens.reshape(2, *grid, -1).permute(0, 3, 1, 2)
    elif whole.shape[1:3] == grid:
        whole = whole.permute(0, 3, 1, 2)
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', MODELS)
def test_what_nobody_reads_is_thrown_away(name):
    whole = _teacher(name)
    feature = [f for f in whole.channels if f != 'last'][1]
    whole.request([feature, 'last'])
    cut = _teacher(name, features=[feature])
    assert list(cut.channels) == [feature]
    assert torch.equal(cut(_images())[feature], whole(_images())[feature])
    sizes = [sum(p.numel() for p in teacher.parameters()) for teacher in (cut, whole)]
    assert sizes[0] < sizes[1]


def test_without_norm_last_is_the_last_block():
    teacher = _teacher('vit_tiny_patch16_224', norm=False)
    teacher.request(['last', 'block_2'])
    features = teacher(_images())
    assert torch.equal(features['last'], features['block_2'])
    assert teacher.fingerprint() != _teacher('vit_tiny_patch16_224').load().fingerprint()
    # 1,280 channels are behind the last stage's convolution.
    raw = _teacher('efficientnet_lite0', norm=False)
    assert raw.channels['last'] == raw.channels['stage_4'] == 320
    assert _teacher('efficientnet_lite0').channels['last'] == 1280


def test_reads_pictures_as_the_model_does():
    teacher = _teacher('vit_tiny_patch16_224')
    torch.testing.assert_close(teacher.mean.flatten(), torch.full((3,), 127.5))
    torch.testing.assert_close(teacher.std.flatten(), torch.full((3,), 127.5))
    assert teacher.target_size((608, 1080)) == (608, 1072)
    resnet = _teacher('resnet18')
    torch.testing.assert_close(resnet.mean.flatten() / 255, torch.tensor([0.485, 0.456, 0.406]))
    assert resnet.target_size((600, 1080)) == (576, 1056)
    own = _teacher('resnet18', mean=(0, 0, 0), std=(1, 1, 1), patch=8)
    assert own.target_size((600, 1080)) == (600, 1080)
    assert own.mean.flatten().tolist() == [0, 0, 0]


def test_a_model_of_one_size_gets_that_one():
    teacher = _teacher(FIXED)
    assert teacher.target_size((608, 1088)) == (224, 224)
    teacher = _teacher(FIXED, input_size=(96, 160))
    assert teacher(_images())['last'].shape == (2, 24, 6, 10)
    teacher = _teacher(FIXED, options={'img_size': 64})
    assert teacher(_images())['last'].shape == (2, 24, 4, 4)


@pytest.mark.parametrize('kind', ['plain', 'wrapped', 'averaged', 'ddp', 'no classifier'])
def test_files_are_read(tmp_path, kind):
    state = _network('resnet18').state_dict()
    other = {key: value + 1 for key, value in state.items()}
    content = {
        'plain': state,
        'wrapped': {'state_dict': state, 'epoch': 3},
        # timm's own training keeps both, and prefers the average.
        'averaged': {'state_dict': other, 'state_dict_ema': state},
        'ddp': {'state_dict': {f'module.{key}': value for key, value in state.items()}},
        'no classifier': {k: v for k, v in state.items() if not k.startswith('fc.')},
    }[kind]
    path = tmp_path / 'w.pth'
    torch.save(content, path)
    loaded = _teacher('resnet18', str(path)).load().net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert len(loaded) == len(state) - 2


def test_other_layouts_are_read_by_timms_own_filter(tmp_path):
    state = _network('convnext_atto').state_dict()
    theirs = {}
    for key, value in state.items():
        key = key.replace('.blocks.', '.').replace('conv_dw', 'dwconv').replace('mlp.fc', 'pwconv')
        key = key.replace('stem.', 'downsample_layers.0.')
        parts = key.split('.')
        if parts[0] == 'stages' and parts[2] == 'downsample':
            key = '.'.join(['downsample_layers', parts[1], *parts[3:]])
        theirs[key.replace('head.norm.', 'norm.').replace('head.fc.', 'head.')] = value
    path = tmp_path / 'w.pth'
    torch.save({'model': theirs}, path)
    loaded = _teacher('convnext_atto', str(path)).load().net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def _break(tmp_path, kind):
    path = tmp_path / 'w.pth'
    state = _network('resnet18').state_dict()
    if kind == 'missing file':
        return str(path)
    if kind == 'missing':
        state = {k: v for k, v in state.items() if not k.startswith('layer2.0.bn')}
    elif kind == 'unknown':
        state['layer9.weight'] = torch.zeros(1)
    elif kind == 'shape':
        state['layer1.0.conv1.weight'] = torch.zeros(3, 3, 3, 3)
    elif kind == 'text':
        path.write_text('<html>')
        return str(path)
    torch.save(state, path)
    return str(path)


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('missing file', 'There is no resnet18 weights file'),
        # All of them are named.
        ('missing', "10 tensors.*'layer2.0.bn1.bias'.*'layer2.0.bn2.running_var'"),
        ('unknown', "1 are not known \\('layer9.weight'\\)"),
        ('shape', r"'layer1.0.conv1.weight' of shape \(3, 3, 3, 3\)"),
        ('text', 'corrupt'),
    ],
)
def test_every_wrong_file_is_told(tmp_path, kind, message):
    teacher = _teacher('resnet18', _break(tmp_path, kind))
    with pytest.raises(MMKDError, match=message):
        teacher(_images())
    assert not teacher.loaded


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'weights': None}, "'timm'.*'random'"),
        ({'model': 'resnet81'}, "no model 'resnet81'.*Did you mean 'resnet"),
        ({'model': 7}, 'no model 7'),
        ({'features': ('stage_5',)}, "5 stages, 0 to 4, and no 'stage_5'"),
        ({'features': ('block_1',)}, "no 'block_1'"),
        ({'options': {'depht': 3}}, "cannot create 'resnet18'.*depht"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        TimmTeacher(**{'model': 'resnet18', 'weights': 'random', **options})


def test_a_model_without_features_is_told(monkeypatch):
    monkeypatch.delattr(timm.models.resnet.ResNet, 'forward_intermediates')
    with pytest.raises(MMKDError, match=r"'resnet18' \(ResNet\) cannot be a teacher"):
        _teacher('resnet18')


def test_several_maps_are_no_last(monkeypatch):
    teacher = _teacher('resnet18').load()
    forward = teacher.net.forward_intermediates
    monkeypatch.setattr(
        teacher.net, 'forward_intermediates', lambda *a, **k: ([1, 2], forward(*a, **k)[1])
    )
    with pytest.raises(MMKDError, match="'last' is not one map but a list.*'stage_0'"):
        teacher(_images())


@pytest.mark.parametrize('reachable', [True, False])
def test_timms_weights_are_taken_strictly(monkeypatch, reachable):
    create = timm.create_model
    asked = []

    def create_model(name, pretrained=False, **kwargs):
        if pretrained:
            asked.append(kwargs)
            if not reachable:
                raise OSError('no route to host')
            return _network('resnet18')
        return create(name, **kwargs)

    monkeypatch.setattr(timm, 'create_model', create_model)
    teacher = _teacher('resnet18', 'timm')
    if not reachable:
        with pytest.raises(MMKDError, match='no route to host.*without network'):
            teacher.load()
        return
    loaded = teacher.load().net.state_dict()
    expected = _network('resnet18').state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.items())
    # Only with its own classifier does timm insist on every weight.
    assert 'num_classes' not in asked[0]
    assert not any(key.startswith('fc.') for key in loaded)


def test_random_is_always_the_same_and_announced(caplog):
    teacher = _teacher('resnet18')
    assert teacher.is_random
    assert 'RANDOM' in teacher.describe()
    torch.manual_seed(5)
    first = teacher.load().fingerprint()
    torch.manual_seed(6)
    assert _teacher('resnet18').load().fingerprint() == first
