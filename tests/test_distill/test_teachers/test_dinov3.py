import json
import math

import pytest
import torch
from timm.models.convnext import ConvNeXt
from timm.models.eva import checkpoint_filter_fn
from torch import nn

from mmkd.distill import teachers
from mmkd.distill.teachers import DINOv3Teacher
from mmkd.distill.teachers.dinov3 import ARCHS, ConvNeXtArch
from mmkd.errors import MMKDError

TINY = {'embed_dim': 32, 'depth': 3, 'num_heads': 2}
TINY_CONVNEXT = {'depths': (1, 2, 1, 1), 'dims': (8, 12, 16, 24)}
KINDS = {
    'vit': (TINY, False),
    'vit bias': (TINY, True),
    'vit swiglu': (dict(TINY, swiglu=True), False),
    'vit swiglu bias': (dict(TINY, swiglu=True), True),
    'convnext': (TINY_CONVNEXT, False),
}


def _network(kind):
    """A trained-looking network in timm's own class."""
    arch, bias = KINDS[kind]
    torch.manual_seed(3)
    net = DINOv3Teacher(arch, weights='random')._network(bias)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.3)
    return net.eval()


def _as_meta(kind):
    """timm's names to those of facebookresearch/dinov3's files."""
    state = _network(kind).state_dict()
    if kind == 'convnext':
        return _convnext_as_meta(state)
    _, bias = KINDS[kind]
    out = {}
    for key, value in state.items():
        if key.endswith(('q_bias', 'v_bias')):
            continue
        for ours, theirs in (
            ('gamma_1', 'ls1.gamma'),
            ('gamma_2', 'ls2.gamma'),
            ('reg_token', 'storage_tokens'),
            ('mlp.fc1_g.', 'mlp.w1.'),
            ('mlp.fc1_x.', 'mlp.w2.'),
        ):
            key = key.replace(ours, theirs)
        out[key.replace('mlp.fc2.', 'mlp.w3.') if 'swiglu' in kind else key] = value
    width, depth = TINY['embed_dim'], TINY['depth']
    for i in range(depth):
        attn = f'blocks.{i}.attn.'
        # What is masked is never read, whatever it is.
        parts = [torch.zeros(width), torch.full((width,), 7.0), torch.zeros(width)]
        if bias:
            parts[0], parts[2] = state[attn + 'q_bias'], state[attn + 'v_bias']
        out[attn + 'qkv.bias'] = torch.cat(parts)
        out[attn + 'qkv.bias_mask'] = torch.cat([torch.ones(width), torch.zeros(width)] * 2)[
            : 3 * width
        ]
    out['mask_token'] = torch.zeros(1, width)
    out['rope_embed.periods'] = torch.ones(width // TINY['num_heads'] // 4)
    out['local_cls_norm.weight'] = torch.ones(width)
    return out


def _convnext_as_meta(state):
    out = {}
    for key, value in state.items():
        key = key.replace('stem.', 'downsample_layers.0.').replace('head.norm.', 'norm.')
        parts = key.split('.')
        if parts[0] == 'stages' and parts[2] == 'downsample':
            key = '.'.join(['downsample_layers', parts[1], *parts[3:]])
        key = key.replace('.blocks.', '.').replace('conv_dw', 'dwconv').replace('mlp.fc', 'pwconv')
        out[key] = value
    # The final norm stands there twice.
    out['norms.3.weight'], out['norms.3.bias'] = out['norm.weight'], out['norm.bias']
    return out


def _as_hugging_face(kind):
    """Those to the names of transformers' DINOv3ViTModel and DINOv3ConvNextModel."""
    out = {}
    for key, value in _as_meta(kind).items():
        if key.startswith(('norms.', 'rope_embed', 'local_cls_norm')) or 'bias_mask' in key:
            continue
        if kind == 'convnext':
            parts = key.split('.')
            if parts[0] == 'downsample_layers':
                key = '.'.join(['stages', parts[1], 'downsample_layers', *parts[2:]])
            elif parts[0] == 'stages':
                key = '.'.join(['stages', parts[1], 'layers', *parts[2:]])
                key = key.replace('.norm.', '.layer_norm.').replace('dwconv', 'depthwise_conv')
                key = key.replace('pwconv', 'pointwise_conv')
            elif parts[0] == 'norm':
                key = 'layer_' + key
            out[key] = value
            continue
        if '.attn.qkv.' in key:
            new = key.replace('blocks.', 'layer.')
            for name, part in zip('qkv', value.chunk(3)):
                if not (name == 'k' and key.endswith('bias')):
                    out[new.replace('attn.qkv', f'attention.{name}_proj')] = part.contiguous()
            continue
        if key in ('cls_token', 'mask_token'):
            key = f'embeddings.{key}'
        for ours, theirs in (
            ('storage_tokens', 'embeddings.register_tokens'),
            ('patch_embed.proj', 'embeddings.patch_embeddings'),
            ('blocks.', 'layer.'),
            ('attn.proj', 'attention.o_proj'),
            ('ls1.gamma', 'layer_scale1.lambda1'),
            ('ls2.gamma', 'layer_scale2.lambda1'),
            ('mlp.fc1', 'mlp.up_proj'),
            ('mlp.fc2', 'mlp.down_proj'),
            ('mlp.w1', 'mlp.gate_proj'),
            ('mlp.w2', 'mlp.up_proj'),
            ('mlp.w3', 'mlp.down_proj'),
        ):
            key = key.replace(ours, theirs)
        out[key] = value
    return out


LAYOUTS = {
    'timm': lambda kind: _network(kind).state_dict(),
    'meta': _as_meta,
    'hugging face': _as_hugging_face,
    'meta, wrapped': lambda kind: {
        'teacher': {
            **{f'backbone.{k}': v for k, v in _as_meta(kind).items()},
            'dino_head.mlp.weight': torch.zeros(2),
        }
    },
    'hugging face, newer': lambda kind: {
        (f'model.{k}' if k.startswith(('layer.', 'stages.')) else k): v
        for k, v in _as_hugging_face(kind).items()
    },
}


def _write(path, state):
    if path.suffix == '.safetensors':
        from safetensors.torch import save_file

        save_file({k: v.clone().contiguous() for k, v in state.items()}, str(path))
    else:
        torch.save(state, path)
    return str(path)


def _images(height=50, width=70):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_gives_the_same_features(tmp_path, kind, layout):
    path = _write(tmp_path / 'weights.pth', LAYOUTS[layout](kind))
    teacher = DINOv3Teacher(KINDS[kind][0], weights=path)
    unit = 'stage' if kind == 'convnext' else 'block'
    teacher.request(['last', f'{unit}_1'])
    features = teacher(_images())
    net, x = _network(kind), teacher.preprocess(_images())
    with torch.no_grad():
        maps = net.forward_intermediates(x, indices=[1], intermediates_only=True)
        last = net.forward_features(x)
    if kind == 'convnext':
        last = net.head.norm(last)
    else:
        last = last[:, 5:].reshape(2, 3, 4, 32).permute(0, 3, 1, 2)
    torch.testing.assert_close(features[f'{unit}_1'], maps[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(features['last'], last, atol=1e-6, rtol=1e-5)


class Reference(nn.Module):
    """A DINOv3 as the paper and facebookresearch/dinov3 describe it, one patch at a time."""

    def __init__(self, state, heads):
        super().__init__()
        self.state, self.heads = state, heads

    def norm(self, x, name):
        weight, bias = self.state[f'{name}.weight'], self.state[f'{name}.bias']
        return nn.functional.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-5)

    def linear(self, x, name):
        return x @ self.state[f'{name}.weight'].T + self.state[f'{name}.bias']

    def rotate(self, vector, row, column, grid):
        """Turns pairs (i, i + half) by angles of the patch's centre, in [-1, 1]."""
        size = len(vector)
        out = vector.clone()
        places = [2 * (row + 0.5) / grid[0] - 1, 2 * (column + 0.5) / grid[1] - 1]
        for axis in range(2):
            for i in range(size // 4):
                angle = 2 * math.pi * places[axis] / 100 ** (2 * i / (size // 2))
                one = axis * (size // 4) + i
                other = one + size // 2
                out[one] = vector[one] * math.cos(angle) - vector[other] * math.sin(angle)
                out[other] = vector[other] * math.cos(angle) + vector[one] * math.sin(angle)
        return out

    def attention(self, x, name, grid):
        qkv = x @ self.state[f'{name}.qkv.weight'].T
        mask = self.state[f'{name}.qkv.bias_mask']
        qkv = qkv + torch.where(mask > 0, self.state[f'{name}.qkv.bias'], torch.zeros(()))
        q, k, v = qkv.chunk(3, dim=-1)
        size = x.shape[-1] // self.heads
        out = torch.empty_like(x)
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            qs, ks = q[:, part].clone(), k[:, part].clone()
            for token in range(5, len(x)):
                row, column = divmod(token - 5, grid[1])
                qs[token] = self.rotate(qs[token], row, column, grid)
                ks[token] = self.rotate(ks[token], row, column, grid)
            out[:, part] = (qs @ ks.T / math.sqrt(size)).softmax(dim=-1) @ v[:, part]
        return self.linear(out, f'{name}.proj')

    def mlp(self, x, name):
        if f'{name}.w1.weight' in self.state:
            gate = nn.functional.silu(self.linear(x, f'{name}.w1'))
            return self.linear(gate * self.linear(x, f'{name}.w2'), f'{name}.w3')
        return self.linear(nn.functional.gelu(self.linear(x, f'{name}.fc1')), f'{name}.fc2')

    def forward(self, image):
        state = self.state
        patches = nn.functional.conv2d(
            image[None],
            state['patch_embed.proj.weight'],
            state['patch_embed.proj.bias'],
            stride=16,
        )[0]
        grid = tuple(patches.shape[1:])
        x = torch.cat(
            [state['cls_token'][0], state['storage_tokens'][0], patches.flatten(1).T], dim=0
        )
        for i in range(TINY['depth']):
            block = f'blocks.{i}'
            y = self.attention(self.norm(x, f'{block}.norm1'), f'{block}.attn', grid)
            x = x + y * state[f'{block}.ls1.gamma']
            x = (
                x
                + self.mlp(self.norm(x, f'{block}.norm2'), f'{block}.mlp')
                * state[f'{block}.ls2.gamma']
            )
        return self.norm(x, 'norm')[5:].T.reshape(-1, *grid)


@pytest.mark.parametrize('kind', ['vit bias', 'vit swiglu bias'])
def test_metas_weights_compute_what_the_paper_says(tmp_path, kind):
    state = _as_meta(kind)
    teacher = DINOv3Teacher(KINDS[kind][0], weights=_write(tmp_path / 'w.pth', state))
    features = teacher(_images())['last']
    x = teacher.preprocess(_images())
    for image, found in zip(x, features):
        torch.testing.assert_close(
            found, Reference(state, TINY['num_heads'])(image), atol=1e-4, rtol=1e-4
        )


def test_metas_layout_is_read_as_timm_reads_it(tmp_path):
    meta = _as_meta('vit bias')
    teacher = DINOv3Teacher(TINY, weights=_write(tmp_path / 'w.pth', meta)).load()
    theirs = checkpoint_filter_fn(dict(meta), _network('vit bias'))
    ours = teacher.net.state_dict()
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_bias_of_zeros_makes_no_other_teacher(tmp_path):
    timm, meta = _network('vit').state_dict(), _as_meta('vit')
    prints = {
        DINOv3Teacher(TINY, weights=_write(tmp_path / f'{i}.pth', state)).load().fingerprint()
        for i, state in enumerate([timm, meta])
    }
    assert len(prints) == 1


@pytest.mark.parametrize('kind', ['vit swiglu bias', 'convnext'])
def test_every_weight_is_loaded(tmp_path, kind):
    original = _network(kind).state_dict()
    path = _write(tmp_path / 'w.pth', original)
    loaded = DINOv3Teacher(KINDS[kind][0], weights=path).load().net.state_dict()
    # All are random, so one that was left as it is made would differ.
    assert set(loaded) == set(original)
    assert all(torch.equal(loaded[key], original[key]) for key in original)
    assert len({value.float().sum().item() for value in original.values()}) == len(original)


def test_a_folder_of_pieces(tmp_path):
    state = _as_hugging_face('vit')
    keys = sorted(state)
    files = ('model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors')
    index = {key: files[i % 2] for i, key in enumerate(keys)}
    for file in files:
        _write(tmp_path / file, {key: state[key] for key in keys if index[key] == file})
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': index}))
    whole = DINOv3Teacher(TINY, weights=_write(tmp_path / 'whole.pth', state)).load()
    pieces = DINOv3Teacher(TINY, weights=str(tmp_path)).load()
    assert pieces.fingerprint() == whole.fingerprint()
    (tmp_path / files[1]).unlink()
    with pytest.raises(MMKDError, match='not there.*00002-of-00002'):
        DINOv3Teacher(TINY, weights=str(tmp_path)).load()


@pytest.mark.parametrize('arch', ARCHS)
def test_named_archs_are_timms(arch):
    import timm

    teacher = DINOv3Teacher(arch, weights='random')
    assert timm.is_model_pretrained(teacher.timm_name)
    cfg = timm.get_pretrained_cfg(teacher.timm_name)
    torch.testing.assert_close(teacher.mean.flatten() / 255, torch.tensor(cfg.mean))
    with torch.device('meta'):
        ours = teacher._network()
        theirs = timm.create_model(teacher.timm_name.split('.')[0], num_classes=0)
    shapes = {k: v.shape for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == shapes
    info = theirs.feature_info
    unit = 'stage' if isinstance(teacher.arch, ConvNeXtArch) else 'block'
    for i, item in enumerate(info):
        name = f'{unit}_{i}'
        assert (teacher.channels[name], teacher.strides[name]) == (
            item['num_chs'],
            item['reduction'],
        )


def test_satellites_are_normalised_otherwise():
    import timm

    teacher = DINOv3Teacher('large', weights='random', data='sat493m')
    cfg = timm.get_pretrained_cfg(teacher.timm_name)
    torch.testing.assert_close(teacher.mean.flatten() / 255, torch.tensor(cfg.mean))
    torch.testing.assert_close(teacher.std.flatten() / 255, torch.tensor(cfg.std))
    name = 'dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth'
    with pytest.raises(MMKDError, match="data='sat493m'"):
        DINOv3Teacher('large', weights=name)


@pytest.mark.parametrize('kind', ['vit bias', 'convnext'])
def test_what_nobody_reads_is_thrown_away(tmp_path, kind):
    arch, path = KINDS[kind][0], _write(tmp_path / 'w.pth', _as_meta(kind))
    name = 'stage_1' if kind == 'convnext' else 'block_1'
    cut = DINOv3Teacher(arch, weights=path, blocks=(1,))
    whole = DINOv3Teacher(arch, weights=path)
    whole.request([name, 'last'])
    assert torch.equal(cut(_images())[name], whole(_images())[name])
    size = [sum(p.numel() for p in teacher.parameters()) for teacher in (cut, whole)]
    assert size[0] < 0.8 * size[1]
    raw = DINOv3Teacher(arch, weights=path, norm=False)
    deepest = 'stage_3' if kind == 'convnext' else 'block_2'
    raw.request(['last', deepest])
    features = raw(_images())
    assert torch.equal(features['last'], features[deepest])


def test_any_size_and_its_place():
    teacher = DINOv3Teacher(TINY, weights='random')
    assert teacher.target_size((608, 1088)) == (608, 1088)
    assert teacher(_images(40, 70))['last'].shape == (2, 32, 2, 4)
    convnext = DINOv3Teacher(TINY_CONVNEXT, weights='random')
    convnext.request(['stage_0', 'last'])
    features = convnext(_images(100, 70))
    assert features['stage_0'].shape == (2, 8, 24, 16)
    assert features['last'].shape == (2, 24, 3, 2)


def test_positions_are_made_once_per_grid():
    teacher = DINOv3Teacher(TINY, weights='random').load()
    first = teacher(_images())['last']
    calls = []
    rope = teacher.net.rope.rope
    rope.get_embed = lambda **kwargs: calls.append(kwargs) or type(rope).get_embed(rope, **kwargs)
    assert torch.equal(teacher(_images())['last'], first)
    assert calls == []
    teacher(_images(80, 80))
    assert len(calls) == 1
    # They are tensors of a device and a type.
    teacher.double()
    assert teacher(_images().double())['last'].dtype == torch.float64
    assert len(calls) == 2


def test_half_precision_comes_near(tmp_path):
    path = _write(tmp_path / 'w.pth', _as_meta('vit'))
    exact = DINOv3Teacher(TINY, weights=path)(_images())['last']
    teacher = DINOv3Teacher(TINY, weights=path, dtype='bf16')
    rough = teacher(_images())['last'].float()
    # Its periods would lose most of their digits.
    assert teacher.net.rope.rope.periods.dtype == torch.float32
    assert nn.functional.cosine_similarity(exact, rough, dim=1).min() > 0.98


def _break(tmp_path, kind):
    path = tmp_path / 'w.pth'
    state = _as_meta('vit')
    if kind == 'missing':
        (tmp_path / 'dinov3_vitb16.pth').touch()
        return str(tmp_path / 'dinov3_vitb61.pth')
    if kind == 'resnet':
        state = {'conv1.weight': torch.zeros(3)}
    elif kind == 'dinov2':
        state['patch_embed.proj.weight'] = torch.zeros(32, 3, 14, 14)
        state['pos_embed'] = torch.zeros(1, 257, 32)
        del state['storage_tokens']
    elif kind == 'other size':
        state = {
            'cls_token': torch.zeros(1, 1, 384),
            'storage_tokens': torch.zeros(1, 4, 384),
            'patch_embed.proj.weight': torch.zeros(384, 3, 16, 16),
            **{f'blocks.{i}.attn.qkv.weight': torch.zeros(1) for i in range(12)},
            'blocks.0.mlp.w1.weight': torch.zeros(1),
        }
    elif kind == 'convnext':
        state = _as_meta('convnext')
    elif kind == 'incomplete':
        del state['blocks.1.ls2.gamma']
    elif kind == 'key':
        del state['blocks.2.attn.qkv.weight']
    elif kind == 'more':
        state['blocks.1.adapter.weight'] = torch.zeros(3)
    elif kind == 'shape':
        state['blocks.1.mlp.fc1.bias'] = torch.zeros(7)
    return _write(path, state)


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('missing', "no DINOv3 weights file.*Did you mean 'dinov3_vitb16.pth'"),
        ('resnet', "not a DINOv3 in Meta's.*'conv1.weight'"),
        ('dinov2', r'not a DINOv3: its patch is \(14, 14\), it has no registers and a learned'),
        (
            'other size',
            r"width 384, depth 12 with SwiGLU \(arch='small_plus'\).*'custom'.*width 32",
        ),
        ('convnext', r"ConvNeXt of depths \(1, 2, 1, 1\).*'custom', a transformer of width 32"),
        ('incomplete', r"1 tensors are missing \('blocks.1.gamma_2'\)"),
        ('key', r"1 tensors are missing \('blocks.2.attn.qkv.weight'\)"),
        ('more', r"1 are not known \('blocks.1.adapter.weight'\)"),
        ('shape', r"'blocks.1.mlp.fc1.bias' of shape \(7,\)"),
    ],
)
def test_every_wrong_file_is_told_from_the_others(tmp_path, kind, message):
    teacher = DINOv3Teacher(TINY, weights=_break(tmp_path, kind))
    with pytest.raises(MMKDError, match=message):
        teacher(_images())
    assert not teacher.loaded


@pytest.mark.parametrize('key', ['stages.0.0.unknown.weight', 'other.weight'])
def test_a_convnext_with_more_in_it_is_told(tmp_path, key):
    state = dict(_as_meta('convnext'), **{key: torch.zeros(2, 2)})
    with pytest.raises(MMKDError, match=key.split('.')[-2]):
        DINOv3Teacher(TINY_CONVNEXT, weights=_write(tmp_path / 'w.pth', state)).load()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'weights': None}, "'timm'.*'random'"),
        ({'arch': 'bases'}, "Did you mean 'base'"),
        ({'arch': 'convnext_tinny'}, "Did you mean 'convnext_tiny'"),
        ({'arch': {'depth': 3}}, 'needs embed_dim, depth and num_heads'),
        ({'arch': {'embed_dims': 3}}, "no 'embed_dims'.*'embed_dim'"),
        ({'arch': {'depths': (1, 2), 'dims': (3,)}}, 'one length'),
        ({'arch': TINY, 'weights': 'timm'}, 'by name, not a dict'),
        ({'arch': TINY, 'blocks': (3,)}, '3 blocks, 0 to 2'),
        ({'arch': TINY_CONVNEXT, 'blocks': ('block_1',)}, "4 stages.*no 'block_1'"),
        ({'arch': TINY, 'data': 'lvd'}, "Did you mean 'lvd1689m'"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        DINOv3Teacher(**{'weights': 'random', **options})


def test_a_timm_without_dinov3_is_told(monkeypatch):
    import timm

    monkeypatch.setattr(timm, 'is_model', lambda name: False)
    with pytest.raises(MMKDError, match=r'timm 1\..* has no DINOv3 yet.*timm>='):
        DINOv3Teacher(TINY, weights='random').load()


def test_timms_weights_are_taken(monkeypatch):
    import timm

    net, create = _network('vit'), timm.create_model
    asked = []

    def create_model(name, pretrained=False, **kwargs):
        if not pretrained:
            return create(name, **kwargs)
        asked.append(name)
        return net

    monkeypatch.setattr(timm, 'create_model', create_model)
    # Weights of another size under that name: only their size is wrong.
    with pytest.raises(MMKDError, match='width 32.*width 384'):
        DINOv3Teacher('small', weights='timm').load()
    assert asked == ['vit_small_patch16_dinov3.lvd1689m']


def test_the_licence_is_named():
    assert 'DINOv3 License' in DINOv3Teacher.__doc__


def test_timms_convnext_has_what_is_read():
    # The final norm stands within timm's classifier.
    teacher = DINOv3Teacher(TINY_CONVNEXT, weights='random').load()
    assert isinstance(teacher.net, ConvNeXt)
    assert teacher.net.head.norm.weight.shape == (24,)
    assert 'DINOv3Teacher' in teachers.__all__
