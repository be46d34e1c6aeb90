"""SiamRPN++ checkpoints of PySOT under mmtrack's names, which are ours.

    from mmkd.apis.convert_pysot import convert_checkpoint

    report = convert_checkpoint('siamrpn_r50_l234_dwxcorr/model.pth', 'siamrpn_r50_mmkd.pth')
    print(report.text())

What is alike: the networks, raw BGR in 0..255 as input, the order of the classes (all backgrounds
first), of the four values (dx, dy, dw, dh) and of the anchors within a cell, and what the values
mean (centre shift in units of the anchor's size, logarithm of the ratio of sizes).

What differs: PySOT takes an anchor's height from its width that was already cut to a whole number,
mmtrack from the ratio itself. Three of the five anchors agree; those of ratio 2 and 3 are 40 x 80
and 32 x 96 pixels in PySOT, 40 x 88 and 32 x 104 in mmtrack. The same regression would give boxes
10 % and 8 % too high. The last convolution of the regression is linear, so it is rewritten for
mmtrack's anchors (factors on dx and dy, a constant on dw and dh), and every box is PySOT's.

Source of names: `STVIR/pysot <https://github.com/STVIR/pysot>`_, ``pysot/models`` (backbone, neck,
head), ``pysot/utils/anchor.py``, ``pysot/tracker/siamrpn_tracker.py``.
"""

from __future__ import annotations

import math
import os.path as osp
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

import mmkd
from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .convert_files import check_target, read_original, sha256, write_checkpoint
from .convert_report import ConversionReport, some
from .convert_rules import Kind

# Our model config of each, below configs/.
ARCHS: Dict[str, str] = {
    'siamrpn_alex_dwxcorr': '_base_/models/siamese_rpn_alexnet.py',
    'siamrpn_mobilev2_l234_dwxcorr': '_base_/models/siamese_rpn_mobilenetv2-w14.py',
    'siamrpn_r50_l234_dwxcorr': '_base_/models/siamese_rpn_r50.py',
}
ANCHORS = ('mmtrack', 'pysot')
COUNTER = '.num_batches_tracked'
# 'alexnetlegacy' is one sequence; these are its convolutions, each with a norm behind it.
_LEGACY = {0: 1, 4: 2, 8: 3, 11: 4, 14: 5}
_BRANCH = {'cls': 'cls_heads', 'loc': 'reg_heads'}
_INSIDE = {
    **{('conv_kernel', at): f'kernel_convs.{name}' for at, name in ((0, 'conv'), (1, 'bn'))},
    **{('conv_search', at): f'search_convs.{name}' for at, name in ((0, 'conv'), (1, 'bn'))},
    ('head', 0): 'head_convs.0.conv',
    ('head', 1): 'head_convs.0.bn',
    ('head', 3): 'head_convs.1.conv',
}


@dataclass
class PySOTReport(ConversionReport):
    """As its base, and:

    Args:
        rewritten: Our keys whose values are no copies, with what was done to them.
    """

    rewritten: Dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The report in lines."""
        lines = [super().text()]
        for reason in dict.fromkeys(self.rewritten.values()):
            same = [key for key, value in self.rewritten.items() if value == reason]
            lines.append(f'  rewritten: {some(same)}: {reason}')
        return '\n'.join(lines)


def convert_state_dict(
    state: Dict[str, Tensor],
    arch: Optional[str] = None,
    anchors: str = 'mmtrack',
    allow_extra: bool = False,
    allow_missing: bool = False,
) -> Tuple[Dict[str, Tensor], PySOTReport]:
    """Names the tensors of a SiamRPN++ of PySOT as mmtrack's and our SiamRPN do.

    Every key of the file is taken or reported, every key of our model filled or reported.
    BatchNorm's step counters, which files older than PyTorch 0.4.1 lack, are filled in; no layer
    here reads them.

    Args:
        state: Names and tensors, with or without the prefix of data parallel training.
        arch: One of PySOT's names in ``ARCHS``; None: what the file looks like.
        anchors: 'mmtrack' rewrites the regression for mmtrack's anchors, so that boxes are
            PySOT's with every config here; 'pysot' keeps the values, so that the maps are PySOT's,
            for a head that has PySOT's anchors.
        allow_extra: Report keys of the file that are unknown instead of raising.
        allow_missing: Report keys of ours that nothing fills instead of raising.

    Returns:
        Our state dict, in our order, and the report.

    Raises:
        MMKDError: For an unknown ``arch`` or ``anchors``, a file of another network, sizes that do
            not fit, and what the flags do not allow.
    """
    if anchors not in ANCHORS:
        raise MMKDError(f'There are no anchors {anchors!r}. {nearest(str(anchors), ANCHORS)}')
    if arch is not None and arch not in ARCHS:
        raise MMKDError(f'There is no architecture {arch!r}. {nearest(str(arch), ARCHS)}')
    state, extra = _bare_state(state)
    kind = identify(state)
    if kind.arch is None or arch not in (None, kind.arch):
        raise MMKDError(
            f'This is no {arch or "SiamRPN++ that can be converted"}: it looks like {kind.what}. '
            f'Files of {", ".join(ARCHS)} can be converted. It holds {some(sorted(state))}.'
        )
    report = PySOTReport(kind.arch, kind, extra=extra)
    model = build_model(kind.arch)
    own = model.state_dict()

    converted: Dict[str, Tensor] = {}
    for key, value in state.items():
        target = rename(key)
        if target not in own:
            report.extra.append(key)
        elif target in converted:
            raise MMKDError(f'The file has {target!r} twice, under two names; one is {key!r}.')
        elif value.shape != own[target].shape:
            report.left_out[key] = f'{_size(value)} in the file, {_size(own[target])} in ours'
        else:
            converted[target] = value.detach().clone()
            report.mapped[key] = target
    for key, value in own.items():
        if key not in converted and key.endswith(COUNTER):
            converted[key] = torch.zeros_like(value)
            report.filled[key] = 'the file is older than these counters, which no layer here reads'
        elif key not in converted:
            report.missing.append(key)
    _check(report, allow_extra, allow_missing)
    if anchors == 'mmtrack':
        _rewrite(converted, model, report)
    return {key: converted[key] for key in own if key in converted}, report


def convert_checkpoint(
    source: str, target: str, arch: Optional[str] = None, force: bool = False, **options
) -> PySOTReport:
    """Converts a file; see :func:`convert_state_dict`.

    The new file is ``dict(state_dict=..., meta=...)``, which mmengine's ``load_checkpoint``, our
    tools and mmtrack's take; ``meta`` says what it was made of.

    Args:
        source: ``model.pth`` of PySOT's model zoo, or a snapshot of its training.
        target: Where to write.
        arch: As there.
        force: Replace ``target`` if it exists.
        options: ``anchors``, ``allow_extra`` and ``allow_missing``, as there.

    Returns:
        The report.

    Raises:
        MMKDError: As there; if the source cannot be read, or the target exists.
    """
    check_target(source, target, force)
    state, epoch = read_original(source)
    try:
        converted, report = convert_state_dict(state, arch, **options)
    except MMKDError as error:
        raise MMKDError(f'{source!r}: {error}') from error
    meta = dict(
        arch=report.arch,
        kind=report.kind.part,
        anchors=options.get('anchors', 'mmtrack'),
        source=osp.basename(source),
        sha256=sha256(source),
        mmkd_version=mmkd.__version__,
    )
    if epoch is not None:
        meta['source_epoch'] = epoch
    write_checkpoint(dict(meta=meta, state_dict=converted), target)
    return report


def identify(state: Dict[str, Tensor]) -> Kind:
    """Tells what network a state dict of bare keys belongs to, from its names and sizes."""

    def has(prefix: str) -> bool:
        return any(key.startswith(prefix) for key in state)

    def width(key: str) -> int:
        return state[key].shape[0] if getattr(state.get(key), 'ndim', 0) else 0

    arch, what = None, 'no network of PySOT that is known here'
    if has('mask_head.'):
        what = 'a SiamMask, which mmkd has no head for'
    elif has('rpn_head.template_cls_conv.'):
        what = 'a SiamRPN without depth-wise correlation (UPChannelRPN)'
    elif has('head.cls_heads.'):
        what = (
            'a checkpoint of mmtrack or mmkd, which needs no conversion, or of a project of theirs'
        )
    elif not has('rpn_head.'):
        what = "the backbone alone, which loads as it is (the backbone's init_cfg)"
    elif has('backbone.layer0.'):
        channels = width('backbone.layer0.0.weight')
        arch = 'siamrpn_mobilev2_l234_dwxcorr' if channels == 44 else None
        what = f'a MobileNetV2 SiamRPN++ whose first layer has {channels} channels'
    elif has('backbone.features.') or has('backbone.layer5.'):
        arch, what = 'siamrpn_alex_dwxcorr', 'an AlexNet SiamRPN++'
    elif has('backbone.layer1.0.conv3.'):
        arch, what = 'siamrpn_r50_l234_dwxcorr', 'a ResNet-50 SiamRPN++'
    elif has('backbone.layer1.0.conv2.'):
        what = 'a SiamRPN++ with ResNet-18 or 34'
    return Kind(arch, what, 'siamrpn')


def rename(key: str) -> Optional[str]:
    """Our name of a bare key of PySOT; None if it has no such key."""
    found = re.match(r'backbone\.features\.(\d+)\.(\w+)$', key)
    if found:
        for at, layer in _LEGACY.items():
            if 0 <= int(found[1]) - at < 2:
                return f'backbone.layer{layer}.{int(found[1]) - at}.{found[2]}'
        return None
    if key.startswith('backbone.'):
        return key
    found = re.match(r'neck\.downsample(\d+)\.downsample\.([01])\.(\w+)$', key)
    if found:
        part = ('conv', 'bn')[int(found[2])]
        return f'neck.convs.{int(found[1]) - 2}.{part}.{found[3]}'
    found = re.match(r'rpn_head\.(?:rpn(\d+)\.)?(cls|loc)\.(\w+)\.(\d)\.(\w+)$', key)
    if found:
        level, inside = int(found[1] or 2) - 2, _INSIDE.get((found[3], int(found[4])))
        return f'head.{_BRANCH[found[2]]}.{level}.{inside}.{found[5]}' if inside else None
    return {
        'rpn_head.cls_weight': 'head.cls_weight',
        'rpn_head.loc_weight': 'head.reg_weight',
    }.get(key)


def pysot_anchors(stride: int, ratios: Sequence[float], scales: Sequence[float]) -> Tensor:
    """Widths and heights (A, 2) of PySOT's anchors, in pixels, ratios first."""
    sizes = []
    for ratio in ratios:
        width = int(math.sqrt(stride * stride / ratio))
        height = int(width * ratio)
        sizes += [(width * scale, height * scale) for scale in scales]
    return torch.tensor(sizes, dtype=torch.float64)


def build_model(arch: str) -> nn.Module:
    """Our tracker of an architecture, random, as its config file in this installation has it.

    Raises:
        MMKDError: The config is not there.
    """
    package = Path(mmkd.__file__).parent
    for folder in (package / '.mim' / 'configs', package.parent / 'configs'):
        path = folder / ARCHS[arch]
        if path.is_file():
            break
    else:
        raise MMKDError(f'The config {ARCHS[arch]} of {arch} is not in this installation.')
    scope = DefaultScope.get_current_instance()
    with DefaultScope.overwrite_default_scope('mmtrack' if scope is None else scope.scope_name):
        return MODELS.build(Config.fromfile(path).model)


# -- steps of the conversion ----------------------------------------------------------------------


def _bare_state(state: Dict[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Without the prefix of data parallel training; and the keys of what is no tensor."""
    found: Dict[str, Tensor] = {}
    extra = []
    for key, value in state.items():
        bare = re.sub(r'^(?:module\.)+', '', str(key))
        if not torch.is_tensor(value):
            extra.append(str(key))
        elif bare in found:
            raise MMKDError(f'The file has {bare!r} twice, with and without a prefix.')
        else:
            found[bare] = value
    return found, extra


def _check(report: PySOTReport, extra: bool, missing: bool) -> None:
    problems = []
    if report.left_out:
        listed = '; '.join(f'{key}: {size}' for key, size in report.left_out.items())
        problems.append(f'of another size than ours: {listed}')
    if report.extra and not extra:
        problems.append(f'unknown here (--allow-extra passes over them): {", ".join(report.extra)}')
    if report.missing and not missing:
        listed = ', '.join(report.missing)
        problems.append(f'ours that nothing fills (--allow-missing accepts that): {listed}')
    if problems:
        raise MMKDError('Not every key is accounted for. ' + '. '.join(problems) + '.')


def _rewrite(converted: Dict[str, Tensor], model: nn.Module, report: PySOTReport) -> None:
    """Makes the regression mean on mmtrack's anchors what it meant on PySOT's.

    A box's centre is ``dx * width`` from its anchor's and its width ``exp(dw) * width``, so that
    ``dx`` takes the factor ``pysot / ours`` and ``dw`` its logarithm. The levels' maps are averaged
    with weights that add up to one, so what is done to each of them is done to the average.
    """
    generator = model.head.anchor_generator
    theirs = pysot_anchors(
        generator.strides[0][0], generator.ratios.tolist(), generator.scales.tolist()
    )
    base = generator.base_anchors[0].double()
    factors = theirs / (base[:, 2:] - base[:, :2])
    if bool((factors == 1).all()):
        return
    count = len(factors)
    for i in range(len(model.head.reg_heads)):
        names = [f'head.reg_heads.{i}.head_convs.1.conv.{part}' for part in ('weight', 'bias')]
        if any(name not in converted for name in names):
            continue
        weight, bias = (converted[name] for name in names)
        # Channels are (value, anchor): dx of all anchors, then dy, dw, dh.
        scale = torch.cat([factors[:, 0], factors[:, 1], torch.ones(2 * count).double()])
        shift = torch.cat([torch.zeros(2 * count).double(), factors.log().t().flatten()])
        converted[names[0]] = (weight.double() * scale.view(-1, 1, 1, 1)).to(weight.dtype)
        converted[names[1]] = (bias.double() * scale + shift).to(bias.dtype)
        for name in names:
            report.rewritten[name] = "for mmtrack's anchors, so that boxes are PySOT's"


def _size(value: Tensor) -> str:
    return 'x'.join(map(str, value.shape)) or 'a number'
