"""Weights of the original FairMOT, and of its backbones, under our names.

    from mmkd.apis.convert_fairmot import convert_checkpoint

    report = convert_checkpoint('fairmot_dla34.pth', 'fairmot_dla34_mmkd.pth', 'dla34')
    print(report.text())

Source of names and formats: `ifzhang/FairMOT <https://github.com/ifzhang/FairMOT>`_,
``models/model.py`` (saving and loading), ``models/networks``, ``trains``.
"""

from __future__ import annotations

import os.path as osp
from pathlib import Path
from typing import Dict, List, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

import mmkd
from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .convert_files import check_target, read_original, sha256, write_checkpoint
from .convert_report import ConversionReport, some
from .convert_rules import ARCHS, RENAMED, Kind, Rule, bare, identify

COUNTER = 'num_batches_tracked'
LOSS_WEIGHTS = ('head.s_det', 'head.s_id')


def convert_state_dict(
    state: Dict[str, Tensor],
    arch: str,
    allow_extra: bool = False,
    allow_missing: bool = False,
    init: bool = False,
) -> Tuple[Dict[str, Tensor], ConversionReport]:
    """Names the tensors of an original FairMOT, or of an ImageNet backbone, as ours are named.

    Every key of the source is taken, dropped for a reason, or reported; every key of our model is
    filled or reported. Values, sizes and dtypes stay; only ``s_det`` and ``s_id``, which are
    vectors of one number in the original, become numbers. The classes, the embedding's length and
    the heads' width are the file's.

    What the file need not have is filled in: BatchNorm's step counters (files older than PyTorch
    0.4.1), read by no layer here, and ``s_det`` and ``s_id``, which the original keeps outside
    the model and never saves; they are read in training only.

    Args:
        state: Names and tensors, with or without the prefixes of data parallel training.
        arch: One of 'hrnetv2_w18', 'hrnetv2_w32', 'dla34'.
        allow_extra: Report source keys that no rule knows instead of raising.
        allow_missing: Report keys of ours that nothing fills instead of raising.
        init: Convert what fits and report the rest, as the original's ``--load_model`` does when
            it starts from CenterNet's COCO detector.

    Returns:
        Our state dict and the report. An ImageNet file gives the keys of ``backbone.`` alone.

    Raises:
        MMKDError: For an unknown ``arch``, a file of another network, sizes that do not fit, and
            what the flags do not allow.
    """
    spec = _arch(arch)
    state, extra = _bare_state(state)
    kind = identify(state)
    _check_kind(kind, arch, state, init)
    report = ConversionReport(arch, kind, extra=extra)
    model = _model_for(arch, state, kind, report)
    own = {
        key: value
        for key, value in model.state_dict().items()
        if kind.part != 'backbone' or key.startswith('backbone.')
    }

    converted: Dict[str, Tensor] = {}
    rules = spec.backbone if kind.part == 'backbone' else spec.fairmot
    for key, value in state.items():
        rule = next((rule for rule in rules if key.startswith(rule.source)), None)
        if rule is not None and rule.target is None:
            report.dropped[key] = rule.reason
            continue
        target = None if rule is None else _rename(key, rule)
        if target not in own:
            report.extra.append(key)
            continue
        if target in LOSS_WEIGHTS and value.numel() == 1:
            value = value.reshape(())
        if value.shape != own[target].shape:
            report.left_out[key] = f'{_size(value)} in the file, {_size(own[target])} in ours'
            continue
        converted[target] = value.detach().clone()
        report.mapped[key] = target

    for key, value in own.items():
        if key in converted:
            continue
        if key.endswith('.' + COUNTER):
            converted[key] = torch.zeros_like(value)
            report.filled[key] = 'the file is older than these counters, which no layer here reads'
        elif key in LOSS_WEIGHTS:
            converted[key] = value.detach().clone()
            report.filled[key] = "the config's start value: the file has none (read in training)"
        else:
            report.missing.append(key)
    _check(report, state, own, allow_extra or init, allow_missing or init, init)
    return {key: converted[key] for key in own if key in converted}, report


def convert_checkpoint(
    source: str, target: str, arch: str, force: bool = False, **options: bool
) -> ConversionReport:
    """Converts a file; see :func:`convert_state_dict`.

    The new file is ``dict(state_dict=..., meta=...)``, which mmengine's ``load_checkpoint`` and
    our tools take; ``meta`` says what it was made of.

    Args:
        source: Checkpoint of the original, or ImageNet weights of a backbone.
        target: Where to write.
        arch: As there.
        force: Replace ``target`` if it exists.
        options: ``allow_extra``, ``allow_missing`` and ``init``, as there.

    Returns:
        The report.

    Raises:
        MMKDError: As there; if the source cannot be read, or the target exists.
    """
    _arch(arch)
    check_target(source, target, force)
    state, epoch = read_original(source)
    try:
        converted, report = convert_state_dict(state, arch, **options)
    except MMKDError as error:
        raise MMKDError(f'{source!r}: {error}') from error
    meta = dict(
        arch=arch,
        kind=report.kind.part,
        source=osp.basename(source),
        sha256=sha256(source),
        mmkd_version=mmkd.__version__,
        head=dict(report.head),
    )
    if epoch is not None:
        meta['source_epoch'] = epoch
    write_checkpoint(dict(meta=meta, state_dict=converted), target)
    return report


# -- steps of the conversion ----------------------------------------------------------------------


def _arch(arch: str):
    if arch not in ARCHS:
        raise MMKDError(f'There is no architecture {arch!r}. {nearest(arch, ARCHS)}')
    return ARCHS[arch]


def _bare_state(state: Dict[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Without prefixes; and the keys of what is no tensor."""
    found: Dict[str, Tensor] = {}
    extra = []
    for key, value in state.items():
        if not torch.is_tensor(value):
            extra.append(str(key))
        elif bare(key) in found:
            raise MMKDError(f'The file has {bare(key)!r} twice, under two prefixes.')
        else:
            found[bare(key)] = value
    return found, extra


def _check_kind(kind: Kind, arch: str, state: Dict[str, Tensor], init: bool) -> None:
    if kind.arch != arch:
        advice = (
            f'; convert it with --arch {kind.arch}.'
            if kind.arch
            else f'. Files of {", ".join(ARCHS)} can be converted. It holds {some(sorted(state))}.'
        )
        raise MMKDError(f'This is no {arch}: it looks like {kind.what}{advice}')
    if kind.part == 'centernet' and not init:
        raise MMKDError(
            'This is a detector (CenterNet?): it has no branch for embeddings (id.*). To start a '
            'training from it, convert what fits with --init.'
        )
    if any(key.startswith('last_layer.') for key in state) and not init:
        raise MMKDError(
            'This HRNet is one of those before 11 September 2020: its heads read 64 channels '
            'behind a last_layer that FairMOT has given up since, so its outputs cannot be had '
            'from this network. --init converts what fits, as a start for a training.'
        )


def _model_for(
    arch: str, state: Dict[str, Tensor], kind: Kind, report: ConversionReport
) -> nn.Module:
    """Our model, with the classes, width and embedding of the file if it is a tracker."""
    cfg = read_model_config(arch)
    if kind.part == 'fairmot':
        sizes = (
            ('num_classes', 'hm.2.weight'),
            ('feat_channels', 'hm.0.weight'),
            ('embed_dims', 'id.2.weight'),
        )
        for name, key in sizes:
            if getattr(state.get(key), 'ndim', 0) == 4:
                cfg['head'][name] = report.head[name] = state[key].shape[0]
    scope = DefaultScope.get_current_instance()
    with DefaultScope.overwrite_default_scope('mmtrack' if scope is None else scope.scope_name):
        model = MODELS.build(cfg)
    classifier = state.get('classifier.weight')
    if kind.part == 'fairmot' and classifier is not None and classifier.ndim == 2:
        model.head.set_num_ids(classifier.shape[0])
    if kind.part == 'fairmot':
        report.head['num_ids'] = model.head.num_ids
    return model


def read_model_config(arch: str) -> dict:
    """Our model of an architecture, as its config file in this installation has it."""
    package = Path(mmkd.__file__).parent
    for folder in (package / '.mim' / 'configs', package.parent / 'configs'):
        path = folder / ARCHS[arch].config
        if path.is_file():
            return Config.fromfile(path).model.to_dict()
    raise MMKDError(f'The config {ARCHS[arch].config} of {arch} is not in this installation.')


def _rename(key: str, rule: Rule) -> str:
    key = rule.target + key[len(rule.source) :]
    for old, new in RENAMED:
        key = key.replace(old, new)
    return key


def _check(
    report: ConversionReport,
    state: Dict[str, Tensor],
    own: Dict[str, Tensor],
    extra: bool,
    missing: bool,
    sizes: bool,
) -> None:
    problems = []
    if report.left_out and not sizes:
        listed = '; '.join(f'{key}: {size}' for key, size in report.left_out.items())
        problems.append(f'of another size than ours (--init leaves them out): {listed}')
    if report.extra and not extra:
        problems.append(f'unknown here (--allow-extra passes over them): {", ".join(report.extra)}')
    if report.missing and not missing:
        listed = ', '.join(report.missing)
        problems.append(f'ours that nothing fills (--allow-missing accepts that): {listed}')
    if problems:
        raise MMKDError('Not every key is accounted for. ' + '. '.join(problems) + '.')
    if not report.mapped:
        raise MMKDError(f'Nothing fits: the file holds {some(sorted(state))}.')


def _size(value: Tensor) -> str:
    return 'x'.join(map(str, value.shape)) or 'a number'
