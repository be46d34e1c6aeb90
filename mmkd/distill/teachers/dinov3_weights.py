"""Reads DINOv3 weights as Meta, timm and Hugging Face write them, into timm's names.

Hugging Face's names are made into Meta's, and timm's own ``checkpoint_filter_fn`` turns those into
timm's. The names are those of facebookresearch/dinov3 (``dinov3/models``) and of transformers
(``models/dinov3_vit``, ``models/dinov3_convnext``). The periods of the rotary positions, which
Meta's files hold rounded to bfloat16, are computed in float32, as timm and transformers do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, Tuple

import torch
from torch import nn

from mmkd.errors import MMKDError

from .weight_files import (
    State,
    check_complete,
    download,
    read_weights,
    some,
    strip_prefixes,
    without_memory,
)

if TYPE_CHECKING:
    from .dinov3 import DINOv3Teacher

_PREFIXES = ('module.', 'backbone.', 'dinov3_vit.', 'dinov3_convnext.', 'model.', 'encoder.')
# Of pretraining and of training on top, not needed for features.
_DROPPED = (
    'mask_token',
    'local_cls_norm',
    'rope_embed',
    'rope_embeddings',
    'dino_head',
    'ibot_head',
    'linear_head',
    'classifier',
)
_HF_VIT = (
    (r'^embeddings\.patch_embeddings\.(proj\.|projection\.)?', 'patch_embed.proj.'),
    (r'^embeddings\.register_tokens$', 'storage_tokens'),
    (r'^embeddings\.', ''),
    (r'^layer\.', 'blocks.'),
    (r'\.attention\.o_proj\.', '.attn.proj.'),
    (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
    (r'\.mlp\.gate_proj\.', '.mlp.w1.'),
)
# These depend on whether there is a gate.
_HF_MLP = ((r'\.mlp\.up_proj\.', '.mlp.fc1.'), (r'\.mlp\.down_proj\.', '.mlp.fc2.'))
_HF_GATED = ((r'\.mlp\.up_proj\.', '.mlp.w2.'), (r'\.mlp\.down_proj\.', '.mlp.w3.'))
_HF_QKV = re.compile(r'^layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)$')
_HF_CONVNEXT = (
    (r'^stages\.(\d+)\.downsample_layers\.(\d+)\.', r'downsample_layers.\1.\2.'),
    (r'^stages\.(\d+)\.layers\.(\d+)\.', r'stages.\1.\2.'),
    (r'\.depthwise_conv\.', '.dwconv.'),
    (r'\.pointwise_conv([12])\.', r'.pwconv\1.'),
    (r'(^|\.)layer_norm\.', r'\1norm.'),
)


def load_state(teacher: DINOv3Teacher) -> Tuple[State, bool]:
    """The weights that a teacher's config asks for, complete and of its size, in timm's names.

    Returns:
        They, and whether queries and values have a bias.

    Raises:
        MMKDError: The message says whether the file is missing, unreadable, in a layout that is
            no DINOv3's, or of another architecture, and then of which.
    """
    # First of all, as nothing can be read without it.
    from .dinov3 import timm_with_dinov3

    timm = timm_with_dinov3()
    if teacher.weights == 'timm':
        name = teacher.timm_name
        source = f'timm ({name})'
        raw = download(name, lambda: timm.create_model(name, pretrained=True)).state_dict()
    else:
        source, raw = teacher.weights, read_weights(teacher.weights, 'DINOv3')
    return to_timm(raw, teacher, source)


def to_timm(raw: State, teacher: DINOv3Teacher, source: str) -> Tuple[State, bool]:
    """Any of the three layouts in timm's names, checked; see :func:`load_state`."""
    state = strip_prefixes(raw, _PREFIXES)
    state = {key: value for key, value in state.items() if key.split('.')[0] not in _DROPPED}
    if 'embeddings.cls_token' in state:
        state = _vit_from_hugging_face(state, source)
    elif any('.depthwise_conv.' in key for key in state):
        state = _rename(state, _HF_CONVNEXT)
    # Meta's own training chunks the blocks: blocks.<chunk>.<block>.
    state = {re.sub(r'^blocks\.\d+\.(\d+\.)', r'blocks.\1', key): v for key, v in state.items()}
    _check_layout(state, source)
    found = _measure(state)
    if found != (type(teacher.arch).__name__, *_essence(teacher.arch)):
        raise MMKDError(
            f'{source} holds a {_told(*found)}, but the config asks for {teacher.arch_name!r}, a '
            f'{_told(type(teacher.arch).__name__, *_essence(teacher.arch))}.'
        )
    state, qkv_bias = _drop_empty_bias(state)
    with without_memory('DINOv3Teacher'):
        net = teacher._network(qkv_bias)
    state = _filter(state, net, source)
    check_complete(state, net.state_dict(), source, f'this DINOv3 ({teacher.arch_name!r})')
    return state, qkv_bias


def _filter(state: State, net: nn.Module, source: str) -> State:
    """Meta's names in timm's, by timm itself; timm's own stay as they are."""
    if 'storage_tokens' in state:
        from timm.models.eva import checkpoint_filter_fn
    elif any('.dwconv.' in key for key in state):
        from timm.models.convnext import checkpoint_filter_fn
    else:
        return state
    try:
        return checkpoint_filter_fn(state, net)
    except KeyError as error:
        raise MMKDError(f'{source} holds {error}, which no DINOv3 has.') from error


def _vit_from_hugging_face(state: State, source: str) -> State:
    out: State = {}
    split: Dict[str, State] = {}
    for key, value in state.items():
        match = _HF_QKV.match(key)
        if match:
            split.setdefault(f'blocks.{match[1]}.attn.qkv.{match[3]}', {})[match[2]] = value
        else:
            out[key] = value
    gated = any('.mlp.gate_proj.' in key for key in out)
    out = _rename(out, (*_HF_VIT, *(_HF_GATED if gated else _HF_MLP)))
    for key, parts in split.items():
        if key.endswith('bias') and 'k' not in parts:
            # Keys have none; Meta masks it.
            parts['k'] = torch.zeros_like(parts.get('q', parts.get('v')))
        if len(parts) != 3:
            raise MMKDError(f'{source} is incomplete: of {key!r} it has only {sorted(parts)}.')
        out[key] = torch.cat([parts['q'], parts['k'], parts['v']])
    return out


def _rename(state: State, names: Tuple[Tuple[str, str], ...]) -> State:
    out: State = {}
    for key, value in state.items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        out[key] = value
    return out


def _drop_empty_bias(state: State) -> Tuple[State, bool]:
    """Leaves out the biases of queries, keys and values where they are 0 everywhere."""
    # Masked places of Meta's may hold NaN beside a mask of 0; they are those of the keys.
    biases = {key: value for key, value in state.items() if key.endswith('attn.qkv.bias')}
    biases.update((k, v) for k, v in state.items() if k.endswith(('attn.q_bias', 'attn.v_bias')))
    for key, value in biases.items():
        parts = value.chunk(3)[::2] if key.endswith('qkv.bias') else (value,)
        if any(bool(part.any()) for part in parts):
            return state, True
    state = {key: value for key, value in state.items() if key not in biases}
    return {k: v for k, v in state.items() if not k.endswith('qkv.bias_mask')}, False


def _check_layout(state: State, source: str) -> None:
    """Says what a file is not, before anything is compared with sizes."""
    is_vit = 'cls_token' in state and 'blocks.0.attn.qkv.weight' in state
    is_convnext = 'cls_token' not in state and bool(_measure(state)[1])
    if not is_vit and not is_convnext:
        raise MMKDError(
            f"{source} is not a DINOv3 in Meta's, timm's or Hugging Face's layout. It has "
            f'{some(sorted(state), 4)}.'
        )
    if not is_vit:
        return
    patch = tuple(state['patch_embed.proj.weight'].shape[1:])
    registers = next((k for k in ('storage_tokens', 'reg_token') if k in state), None)
    if patch != (3, 16, 16) or registers is None or 'pos_embed' in state:
        raise MMKDError(
            f'{source} is a vision transformer but not a DINOv3: its patch is {patch[1:]}, it has '
            f'{"" if registers else "no "}registers and '
            f'{"a learned" if "pos_embed" in state else "no learned"} position embedding; DINOv3 '
            'has (16, 16), registers, and none.'
        )


def _measure(state: State) -> tuple:
    """Kind and size of the network that weights are of, in either layout."""
    if 'cls_token' in state:
        blocks = {int(key.split('.')[1]) for key in state if key.startswith('blocks.')}
        gated = any(k.startswith(('blocks.0.mlp.w1.', 'blocks.0.mlp.fc1_g.')) for k in state)
        return 'ViTArch', state['cls_token'].shape[-1], len(blocks), gated
    depths: Dict[int, set] = {}
    dims: Dict[int, int] = {}
    for key, value in state.items():
        match = re.match(r'stages\.(\d+)\.(?:blocks\.)?(\d+)\.(dwconv|conv_dw)\.weight$', key)
        if match:
            depths.setdefault(int(match[1]), set()).add(int(match[2]))
            dims[int(match[1])] = value.shape[0]
    stages = sorted(depths)
    return (
        'ConvNeXtArch',
        tuple(len(depths[stage]) for stage in stages),
        tuple(dims[stage] for stage in stages),
    )


def _essence(arch) -> tuple:
    """What :func:`_measure` finds of this architecture."""
    if hasattr(arch, 'dims'):
        return tuple(arch.depths), tuple(arch.dims)
    return arch.embed_dim, arch.depth, arch.swiglu


def _told(kind: str, *size) -> str:
    from .dinov3 import ARCHS

    named = [n for n, a in ARCHS.items() if (type(a).__name__, *_essence(a)) == (kind, *size)]
    names = f' (arch={named[0]!r})' if named else ''
    if kind == 'ConvNeXtArch':
        return f'ConvNeXt of depths {size[0]} and dims {size[1]}{names}'
    mlp = 'SwiGLU' if size[2] else 'a plain MLP'
    return f'transformer of width {size[0]}, depth {size[1]} with {mlp}{names}'
