import logging

import pytest
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from mmkd.distill import DINOv2Teacher
from mmkd.errors import MMKDError

from ..toys import TINY

ARCHS = {
    'plain': (TINY, False),
    'registers': (TINY, True),
    'swiglu': (dict(TINY, swiglu=True), False),
    'swiglu registers': (dict(TINY, swiglu=True), True),
}


def _network(arch, registers):
    """A trained-looking network in timm's own class."""
    teacher = DINOv2Teacher(arch=arch, registers=registers, weights='random')
    torch.manual_seed(3)
    net = teacher._network(teacher.arch.grid)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.2)
    return net.eval()


def _as_meta(net, registers):
    """timm's names to those of facebookresearch/dinov2's files."""
    state = {k: v.clone() for k, v in net.state_dict().items()}
    if registers:
        first = torch.randn(1, 1, state['cls_token'].shape[-1])
        state['register_tokens'] = state.pop('reg_token')
        state['cls_token'] = state['cls_token'] - first
        state['pos_embed'] = torch.cat([first, state['pos_embed']], dim=1)
    state['mask_token'] = torch.zeros(1, state['cls_token'].shape[-1])
    if state['blocks.0.mlp.fc1.weight'].shape[0] != 2 * state['blocks.0.mlp.fc2.weight'].shape[1]:
        return state
    return {
        k.replace('mlp.fc1', 'mlp.w12').replace('mlp.fc2', 'mlp.w3'): v for k, v in state.items()
    }


def _as_hugging_face(net, registers):
    """Those to the names of transformers' Dinov2Model."""
    out = {}
    for key, value in _as_meta(net, registers).items():
        if '.attn.qkv.' in key:
            for name, part in zip(('query', 'key', 'value'), value.chunk(3)):
                new = key.replace('blocks.', 'encoder.layer.')
                out[new.replace('attn.qkv', f'attention.attention.{name}')] = part.contiguous()
            continue
        if key in ('cls_token', 'mask_token', 'register_tokens'):
            key = f'embeddings.{key}'
        key = key.replace('patch_embed.proj', 'embeddings.patch_embeddings.projection')
        key = key.replace('pos_embed', 'embeddings.position_embeddings')
        key = key.replace('blocks.', 'encoder.layer.')
        key = key.replace('attn.proj', 'attention.output.dense')
        key = key.replace('ls1.gamma', 'layer_scale1.lambda1')
        key = key.replace('ls2.gamma', 'layer_scale2.lambda1')
        key = key.replace('mlp.w12', 'mlp.weights_in').replace('mlp.w3', 'mlp.weights_out')
        out['layernorm' + key[4:] if key.startswith('norm.') else key] = value
    return out


LAYOUTS = {
    'timm': lambda net, registers: net.state_dict(),
    'meta': _as_meta,
    'hugging face': _as_hugging_face,
    'meta, wrapped': lambda net, registers: {
        'teacher': {
            **{f'module.backbone.{k}': v for k, v in _as_meta(net, registers).items()},
            'dino_head.mlp.weight': torch.zeros(2),
        }
    },
    'meta, chunked': lambda net, registers: {
        k.replace('blocks.', 'blocks.0.'): v for k, v in _as_meta(net, registers).items()
    },
    'hugging face, with a head': lambda net, registers: {
        **{f'dinov2.{k}': v for k, v in _as_hugging_face(net, registers).items()},
        'classifier.weight': torch.zeros(2),
    },
}


def _write(path, state):
    if path.suffix == '.safetensors':
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in state.items()}, str(path))
    else:
        torch.save(state, path)
    return str(path)


def _images(height=30, width=45):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize('name', ARCHS)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_gives_the_same_features(tmp_path, name, layout):
    arch, registers = ARCHS[name]
    net = _network(arch, registers)
    path = _write(tmp_path / 'weights.pth', LAYOUTS[layout](net, registers))
    teacher = DINOv2Teacher(arch=arch, registers=registers, weights=path)
    features = teacher(_images())['last']
    assert features.shape == (2, 24, 2, 3)
    x = teacher.preprocess(_images())
    expected = net.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[0]
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', ARCHS)
def test_metas_layout_is_read_as_timm_reads_it(tmp_path, name):
    arch, registers = ARCHS[name]
    net = _network(arch, registers)
    meta = _as_meta(net, registers)
    teacher = DINOv2Teacher(
        arch=arch, registers=registers, weights=_write(tmp_path / 'w.pth', meta)
    ).load()
    theirs = checkpoint_filter_fn({k: v.clone() for k, v in meta.items()}, net)
    ours = teacher.net.state_dict()
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key].reshape(value.shape), msg=key)


def test_files_and_folders(tmp_path):
    state = _as_hugging_face(_network(TINY, False), False)
    _write(tmp_path / 'model.safetensors', state)
    _write(tmp_path / 'pytorch_model.bin', state)
    prints = {
        DINOv2Teacher(arch=TINY, weights=str(where)).load().fingerprint()
        for where in (tmp_path, tmp_path / 'model.safetensors', tmp_path / 'pytorch_model.bin')
    }
    assert len(prints) == 1
    assert prints != {DINOv2Teacher(arch=TINY, weights='random').load().fingerprint()}


def test_every_weight_is_loaded(tmp_path):
    net = _network(TINY, False)
    for name, parameter in net.named_parameters():
        changed = dict(net.state_dict())
        changed[name] = parameter.detach() + 1
        path = _write(tmp_path / 'w.pth', changed)
        loaded = DINOv2Teacher(arch=TINY, weights=path).load().net.state_dict()[name]
        assert torch.equal(loaded, parameter + 1), name


def test_weights_are_required():
    with pytest.raises(MMKDError, match="'timm'.*'random'"):
        DINOv2Teacher(arch='base')


def test_random_is_announced_and_always_the_same(caplog):
    teacher = DINOv2Teacher(arch=TINY, weights='random')
    assert teacher.is_random
    before = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        teacher.load()
    assert 'RANDOM' in teacher.describe()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again = DINOv2Teacher(arch=TINY, weights='random').load()
    assert again.fingerprint() == teacher.fingerprint()


def _break(tmp_path, kind):
    net = _network(TINY, False)
    path = tmp_path / 'w.pth'
    state = _as_meta(net, False)
    if kind == 'missing':
        return str(path)
    if kind == 'cut short':
        _write(path, state)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == 'cut short safetensors':
        path = tmp_path / 'w.safetensors'
        _write(path, state)
        path.write_bytes(path.read_bytes()[:-10])
    elif kind == 'text':
        path.write_text('<html>404</html>')
    elif kind == 'lfs':
        path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n')
    elif kind == 'no tensors':
        torch.save({'epoch': 3}, path)
    elif kind == 'resnet':
        torch.save({'conv1.weight': torch.zeros(3)}, path)
    elif kind == 'vit16':
        state['patch_embed.proj.weight'] = torch.zeros(24, 3, 16, 16)
        torch.save(state, path)
    elif kind == 'other size':
        torch.save(_as_meta(_network(dict(TINY, embed_dim=32, depth=2), False), False), path)
    elif kind == 'registers':
        torch.save(_as_meta(_network(TINY, True), True), path)
    elif kind == 'incomplete':
        torch.save({k: v for k, v in state.items() if k != 'blocks.1.ls2.gamma'}, path)
    elif kind == 'other mlp':
        state['blocks.1.mlp.fc1.bias'] = torch.zeros(7)
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('missing', 'There is no DINOv2 weights file'),
        ('cut short', 'corrupt'),
        ('cut short safetensors', 'corrupt'),
        ('text', 'corrupt'),
        ('lfs', 'git lfs pull'),
        ('no tensors', 'holds no state dict'),
        ('resnet', "not a DINOv2 in Meta's.*'conv1.weight'"),
        ('vit16', r'not a DINOv2: its patch is \(16, 16\)'),
        ('other size', "width 32, depth 2.*'custom': width 24, depth 3"),
        ('registers', 'with registers.*without registers'),
        ('incomplete', "1 tensors are missing.*'blocks.1.ls2.gamma'"),
        ('other mlp', r"'blocks.1.mlp.fc1.bias' of shape \(7,\)"),
    ],
)
def test_every_wrong_file_is_told_from_the_others(tmp_path, kind, message):
    teacher = DINOv2Teacher(arch=TINY, weights=_break(tmp_path, kind))
    with pytest.raises(MMKDError, match=message):
        teacher(_images())
    assert not teacher.loaded


def test_the_size_of_a_known_file_is_named(tmp_path):
    state = {
        'cls_token': torch.zeros(1, 1, 384),
        'pos_embed': torch.zeros(1, 1370, 384),
        'patch_embed.proj.weight': torch.zeros(384, 3, 14, 14),
        'norm.weight': torch.zeros(384),
    }
    for i in range(12):
        state[f'blocks.{i}.attn.qkv.weight'] = torch.zeros(1)
        state[f'blocks.{i}.ls1.gamma'] = torch.zeros(1)
    teacher = DINOv2Teacher(arch='base', weights=_write(tmp_path / 'w.pth', state))
    with pytest.raises(MMKDError, match="arch='small'.*'base'"):
        teacher.load()


def test_a_folder_must_be_clear(tmp_path):
    with pytest.raises(MMKDError, match='no weights file'):
        DINOv2Teacher(arch=TINY, weights=str(tmp_path)).load()
    for name in ('a.pth', 'b.pth'):
        torch.save({}, tmp_path / name)
    with pytest.raises(MMKDError, match='a.pth, b.pth'):
        DINOv2Teacher(arch=TINY, weights=str(tmp_path)).load()


def test_height_and_width_stay_in_their_places():
    teacher = DINOv2Teacher(arch='base', weights='random')
    assert teacher.target_size((608, 1088)) == (602, 1078)
    # What the published code did, on request.
    swapped = DINOv2Teacher(arch='base', weights='random', input_size=(1088, 608))
    assert swapped.target_size((608, 1088)) == (1078, 602)
    half = DINOv2Teacher(arch='base', weights='random', input_size=0.5)
    assert half.target_size((608, 1088)) == (294, 532)
    assert half.target_size((10, 10)) == (14, 14)


def test_a_place_in_the_picture_is_that_place_in_the_map(tmp_path):
    path = _write(tmp_path / 'w.pth', _network(TINY, False).state_dict())
    teacher = DINOv2Teacher(arch=TINY, weights=path, blocks=(0,))
    images = torch.zeros(1, 3, 42, 70)
    base = teacher(images)['block_0']
    images[:, :, 28:42, 14:28] = 255
    change = (teacher(images)['block_0'] - base).abs().sum(dim=1)[0]
    assert change.shape == (3, 5)
    assert divmod(change.argmax().item(), 5) == (2, 1)


def test_normalises_as_imagenet():
    teacher = DINOv2Teacher(arch=TINY, weights='random').load()
    mean = 255 * torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 14, 28)
    torch.testing.assert_close(
        teacher.preprocess(mean), torch.zeros(1, 3, 14, 28), atol=1e-5, rtol=0
    )


def test_blocks_that_nobody_reads_are_thrown_away(tmp_path):
    path = _write(tmp_path / 'w.pth', _network(TINY, False).state_dict())
    whole = DINOv2Teacher(arch=TINY, weights=path, blocks=(0, 1, 'last'))
    cut = DINOv2Teacher(arch=TINY, weights=path, blocks=(1,))
    assert list(cut.channels) == ['block_1']
    assert torch.equal(cut(_images())['block_1'], whole(_images())['block_1'])
    assert len(cut.net.blocks) == 2
    assert len(whole.net.blocks) == 3
    raw = DINOv2Teacher(arch=TINY, weights=path, blocks=(2, 'last'), norm=False)(_images())
    assert torch.equal(raw['last'], raw['block_2'])


def test_features_are_asked_for_by_name():
    teacher = DINOv2Teacher(arch=TINY, weights='random')
    with pytest.raises(MMKDError, match="no feature 'block_3'.*'block_"):
        teacher.request(['block_3'])
    teacher.request(['block_0'])
    assert list(teacher(_images())) == ['block_0']
    with pytest.raises(MMKDError, match='before the teacher is loaded'):
        teacher.request(['last'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'arch': 'bases'}, "Did you mean 'base'"),
        ({'arch': {'depth': 3}}, 'needs embed_dim'),
        ({'arch': {'embed_dims': 3}}, "no 'embed_dims'"),
        ({'arch': 'base_reg', 'registers': False}, 'registers=False'),
        ({'arch': TINY, 'weights': 'timm'}, 'by name, not a dict'),
        ({'arch': TINY, 'blocks': (3,)}, '3 blocks, 0 to 2'),
        ({'arch': TINY, 'blocks': ()}, 'nothing to give'),
        ({'arch': TINY, 'input_size': (0, 3)}, r'input_size=\(height, width\)'),
        ({'arch': TINY, 'dtype': 'fp8'}, "Did you mean 'fp"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        DINOv2Teacher(**{'weights': 'random', **options})


@pytest.mark.parametrize('arch', ['small', 'base', 'large', 'giant'])
@pytest.mark.parametrize('suffix', ['', '_reg'])
def test_named_archs_are_timms(arch, suffix):
    import timm

    teacher = DINOv2Teacher(arch=arch + suffix, weights='random')
    with torch.device('meta'):
        ours = teacher._network(37).state_dict()
        theirs = timm.create_model(teacher.timm_name.split('.')[0], num_classes=0).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_timms_hub_out_of_reach_is_told(monkeypatch):
    import timm

    def create_model(name, pretrained, num_classes):
        raise OSError('no route to host')

    monkeypatch.setattr(timm, 'create_model', create_model)
    with pytest.raises(MMKDError, match='no route to host.*without network'):
        DINOv2Teacher(arch='small', weights='timm').load()


def test_timms_weights_are_taken(monkeypatch):
    import timm

    net = _network(TINY, True)
    monkeypatch.setattr(timm, 'create_model', lambda name, **kwargs: net)
    teacher = DINOv2Teacher(arch='small_reg', weights='timm')
    assert teacher.timm_name == 'vit_small_patch14_reg4_dinov2.lvd142m'
    # The same weights under a name: only their size is wrong for it.
    with pytest.raises(MMKDError, match='width 24'):
        teacher.load()
