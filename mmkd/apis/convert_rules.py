"""Which name of FairMOT's files becomes which of ours: tables, and how to tell files apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, NamedTuple, Optional, Tuple

from torch import Tensor


class Rule(NamedTuple):
    """What happens to the keys that begin with ``source``.

    ``target`` takes the place of ``source``; None drops the key, for the ``reason`` given.
    """

    source: str
    target: Optional[str]
    reason: str = ''


@dataclass(frozen=True)
class Arch:
    """One network of ours that FairMOT's files fit.

    Args:
        config: Our model config, below ``configs/``.
        fairmot: Rules for a tracker's checkpoint; the first that matches a key holds.
        backbone: Rules for an ImageNet file of the backbone.
    """

    config: str
    fairmot: Tuple[Rule, ...]
    backbone: Tuple[Rule, ...]


# trains/mot.py (MotLoss) and the networks' branches. Saved models have the branches only; whoever
# saved the trainer's model_with_loss has the loss's parameters beside them.
HEAD = (
    Rule('hm.', 'head.heatmap.'),
    Rule('wh.', 'head.ltrb.'),
    Rule('reg.', 'head.offset.'),
    Rule('id.', 'head.embedding.'),
    Rule('classifier.', 'head.id_classifier.'),
    Rule('s_det', 'head.s_det'),
    Rule('s_id', 'head.s_id'),
)

# pose_hrnet.py; mmdet names the parts of an HRNet as the original does.
_HRNET_PARTS = (
    *('conv1.', 'bn1.', 'conv2.', 'bn2.', 'layer1.'),
    *('transition1.', 'stage2.', 'transition2.', 'stage3.', 'transition3.', 'stage4.'),
)
_HRNET = tuple(Rule(part, 'backbone.' + part) for part in _HRNET_PARTS)
_CLASSIFIES = "part of the ImageNet classifier, behind the maps that FairMOT's heads read"
_HRNET_IMAGENET = tuple(
    Rule(part, None, _CLASSIFIES)
    for part in ('incre_modules.', 'downsamp_modules.', 'final_layer.', 'classifier.')
)

# pose_dla_dcn.py: DLASeg is `base`, `dla_up` and `ida_up`.
_DLA_PARTS = ('base_layer.', *(f'level{i}.' for i in range(6)))
_NO_EFFECT = 'the original computes it and throws the result away'


def _dla(prefix: str) -> Tuple[Rule, ...]:
    return (
        Rule(f'{prefix}fc.', None, 'the ImageNet classifier, which no output depends on'),
        Rule(f'{prefix}level3.project.', None, _NO_EFFECT),
        Rule(f'{prefix}level4.project.', None, _NO_EFFECT),
        *(Rule(prefix + part, 'backbone.' + part) for part in _DLA_PARTS),
    )


_DLA_UP = (Rule('dla_up.', 'neck.dla_up.'), Rule('ida_up.', 'neck.ida_up.'))

ARCHS: Dict[str, Arch] = {
    'hrnetv2_w18': Arch(
        '_base_/models/fairmot_hrnetv2-w18.py', (*_HRNET, *HEAD), (*_HRNET, *_HRNET_IMAGENET)
    ),
    'hrnetv2_w32': Arch(
        '_base_/models/fairmot_hrnetv2-w32.py', (*_HRNET, *HEAD), (*_HRNET, *_HRNET_IMAGENET)
    ),
    'dla34': Arch('_base_/models/fairmot_dla34.py', (*_dla('base.'), *_DLA_UP, *HEAD), _dla('')),
}

# Within a name: the compiled DCNv2's module, and mmcv's.
RENAMED = (('.conv_offset_mask.', '.conv_offset.'),)

# torch's wrappers, and the trainer's pair of model and loss (trains/base_trainer.py).
_WRAPPERS = re.compile(r'^(?:module\.)*(?:(?:model|loss)\.)?(?:module\.)*')


def bare(key: str) -> str:
    """A key without what data parallel training and the trainer put in front of it."""
    return _WRAPPERS.sub('', key)


class Kind(NamedTuple):
    """What a file looks like.

    Args:
        arch: Key of :data:`ARCHS`, or None if it is none of them.
        what: In words, for messages.
        part: 'fairmot' (a tracker), 'centernet' (a detector without embeddings), or 'backbone'.
    """

    arch: Optional[str]
    what: str
    part: str


def identify(state: Dict[str, Tensor]) -> Kind:
    """Tells what network a state dict of bare keys belongs to, from its names and sizes."""

    def has(prefix: str) -> bool:
        return any(key.startswith(prefix) for key in state)

    def width(key: str) -> int:
        return state[key].shape[0] if getattr(state.get(key), 'ndim', 0) else 0

    if has('hm.'):
        part = 'fairmot' if has('id.') else 'centernet'
    else:
        part = 'backbone'
    if has('backbone.') and has('head.'):
        return Kind(None, 'a checkpoint of mmkd or of another OpenMMLab project', part)
    if has('stage4.'):
        channels = width('stage2.0.branches.0.0.conv1.weight')
        name = f'hrnetv2_w{channels}'
        return Kind(name if name in ARCHS else None, f'an HRNet of width {channels}', part)
    for base in ('base.', ''):
        if has(base + 'base_layer.'):
            if has(base + 'level2.tree1.conv3.') or not has(base + 'level3.tree1.tree1.'):
                return Kind(None, 'a DLA of another depth than 34', part)
            if has('dla_up.') and not any('.conv_offset_mask.' in key for key in state):
                return Kind(None, "a DLA-34 without deformable convolutions ('dlaconv_34')", part)
            return Kind('dla34', 'a DLA-34', part)
    if has('layer4.'):
        return Kind(None, "a ResNet (FairMOT's 'resdcn' or 'resfpndcn')", part)
    return Kind(None, 'no network of FairMOT that is known here', part)
