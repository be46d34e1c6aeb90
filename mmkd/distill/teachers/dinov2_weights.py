"""Reads DINOv2 weights as Meta, timm and Hugging Face write them, into timm's names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict

import torch

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
    from .dinov2 import DINOv2Teacher

_PREFIXES = ('module.', 'backbone.', 'dinov2.', 'dinov2_with_registers.')
# Classifiers that were trained on top, and the token of masked patches: not needed for features.
_DROPPED = ('mask_token', 'head', 'linear_head', 'dino_head', 'ibot_head', 'classifier', 'fc_norm')
_HF_NAMES = (
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.', ''),
    (r'^encoder\.layer\.', 'blocks.'),
    (r'\.attention\.output\.dense\.', '.attn.proj.'),
    (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
    (r'\.mlp\.weights_in\.', '.mlp.w12.'),
    (r'\.mlp\.weights_out\.', '.mlp.w3.'),
    (r'^layernorm\.', 'norm.'),
)
_HF_QKV = re.compile(r'^(.*)\.attention\.attention\.(query|key|value)\.(weight|bias)$')


def load_state(teacher: DINOv2Teacher) -> State:
    """The weights that a teacher's config asks for, complete and of its size, in timm's names.

    Raises:
        MMKDError: The message says whether the file is missing, unreadable, in a layout that is
            no DINOv2's, or of another architecture, and then of which.
    """
    if teacher.weights == 'timm':
        source, raw = f'timm ({teacher.timm_name})', _from_hub(teacher.timm_name)
    else:
        source, raw = teacher.weights, read_weights(teacher.weights, 'DINOv2')
    state = to_timm(raw, source)
    _check_arch(state, teacher, source)
    return state


def pretrain_grid(state: State, registers: bool) -> int:
    """Patches per side of the pictures that the position embedding was trained with."""
    tokens = state['pos_embed'].shape[1] - (0 if registers else 1)
    return round(tokens**0.5)


def _from_hub(name: str) -> State:
    import timm

    net = download(name, lambda: timm.create_model(name, pretrained=True, num_classes=0))
    return net.state_dict()


def to_timm(raw: State, source: str) -> State:
    """Any of the three layouts, in timm's names; the tensors are shared, not copied.

    Meta's and Hugging Face's first position belongs to the class token. timm does the same
    without registers; with them it adds that position to the class token once and for all.
    """
    state = strip_prefixes(raw, _PREFIXES)
    if any(key.startswith('embeddings.') for key in state):
        state = _from_hugging_face(state, source)
    # Meta's own training chunks the blocks: blocks.<chunk>.<block>.
    state = {re.sub(r'^blocks\.\d+\.(\d+\.)', r'blocks.\1', key): v for key, v in state.items()}
    _check_layout(state, source)
    out: State = {}
    for key, value in state.items():
        if key.split('.')[0] in _DROPPED:
            continue
        out[key.replace('.mlp.w12.', '.mlp.fc1.').replace('.mlp.w3.', '.mlp.fc2.')] = value
    if 'register_tokens' in out:
        out['reg_token'] = out.pop('register_tokens')
        out['cls_token'] = out['cls_token'] + out['pos_embed'][:, :1]
        out['pos_embed'] = out['pos_embed'][:, 1:]
    return out


def _from_hugging_face(state: State, source: str) -> State:
    out: State = {}
    split: Dict[str, State] = {}
    for key, value in state.items():
        match = _HF_QKV.match(key)
        if match:
            block = re.sub(r'^encoder\.layer\.', 'blocks.', match.group(1))
            split.setdefault(f'{block}.attn.qkv.{match.group(3)}', {})[match.group(2)] = value
            continue
        for pattern, name in _HF_NAMES:
            key = re.sub(pattern, name, key)
        out[key] = value
    for key, parts in split.items():
        if len(parts) != 3:
            raise MMKDError(f'{source} is incomplete: of {key!r} it has only {sorted(parts)}.')
        out[key] = torch.cat([parts['query'], parts['key'], parts['value']])
    return out


def _check_layout(state: State, source: str) -> None:
    """Says what a file is not, before anything is compared with sizes."""
    patch = state.get('patch_embed.proj.weight')
    lacking = [
        name
        for name in ('cls_token', 'pos_embed', 'blocks.0.attn.qkv.weight', 'norm.weight')
        if name not in state
    ]
    if patch is None or lacking:
        raise MMKDError(
            f"{source} is not a DINOv2 in Meta's, timm's or Hugging Face's layout: it has no "
            f'{(lacking or ["patch_embed.proj.weight"])[0]!r}. It has {some(sorted(state), 4)}.'
        )
    if tuple(patch.shape[1:]) != (3, 14, 14) or 'blocks.0.ls1.gamma' not in state:
        scale = 'with' if 'blocks.0.ls1.gamma' in state else 'without'
        raise MMKDError(
            f'{source} is a vision transformer but not a DINOv2: its patch is '
            f'{tuple(patch.shape[2:])}, {scale} layer scale; DINOv2 has (14, 14), with.'
        )


def _check_arch(state: State, teacher: DINOv2Teacher, source: str) -> None:
    from .dinov2 import ARCHS

    blocks = {int(key.split('.')[1]) for key in state if key.startswith('blocks.')}
    found = (
        state['cls_token'].shape[-1],
        len(blocks),
        'reg_token' in state,
    )
    arch = teacher.arch
    if found != (arch.embed_dim, arch.depth, teacher.registers):
        name = next((n for n, a in ARCHS.items() if (a.embed_dim, a.depth) == found[:2]), None)
        looks = f'arch={name + ("_reg" if found[2] else "")!r}' if name else 'no arch known by name'
        raise MMKDError(
            f'{source} has width {found[0]}, depth {found[1]}, {_with(found[2])} registers '
            f'({looks}), but the config asks for {teacher.arch_name!r}: width {arch.embed_dim}, '
            f'depth {arch.depth}, {_with(teacher.registers)} registers.'
        )
    with without_memory('DINOv2Teacher'):
        expected = teacher._network(pretrain_grid(state, teacher.registers)).state_dict()
    check_complete(state, expected, source, f'this DINOv2 ({teacher.arch_name!r})')


def _with(registers: bool) -> str:
    return 'with' if registers else 'without'
