"""Why a checkpoint's keys differ from a model's, in terms of the config."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any, Dict, List, NamedTuple, Sequence, Set, Tuple

from torch import Tensor

from .publish import DISTILL_PREFIX as KD
from .publish import ID_CLASSIFIER

Shape = Tuple[int, ...]
_NUMBERED = re.compile(r'^(.*?)\.(\d+)\.')
_OUTPUTS = re.compile(r'(cls|class|heatmap|logits|fc|num_classes|predictor)')


class Difference(NamedTuple):
    """Keys of a checkpoint against those of a model.

    Attributes:
        same: With equal shapes.
        missing: In the model only.
        extra: In the checkpoint only.
        resized: In both: (shape in the checkpoint, shape in the model).
    """

    same: List[str]
    missing: List[str]
    extra: List[str]
    resized: Dict[str, Tuple[Shape, Shape]]

    @classmethod
    def between(cls, own: Dict[str, Tensor], state: Dict[str, Tensor]) -> Difference:
        """Compares two state dicts: the model's and the checkpoint's."""
        shared = [key for key in own if key in state]
        resized = {
            key: (tuple(state[key].shape), tuple(own[key].shape))
            for key in shared
            if state[key].shape != own[key].shape
        }
        return cls(
            [key for key in shared if key not in resized],
            [key for key in own if key not in state],
            [key for key in state if key not in own],
            resized,
        )


class Reason(NamedTuple):
    """What some keys have in common.

    Attributes:
        what: 'missing', 'extra' or 'resized'.
        keys: The keys, or what they begin with.
        why: The config change that explains them.
        remedy: What to do, if anything.
        harm: 'none', 'warns', or 'stops': part of the student would stay untrained.
    """

    what: str
    keys: List[str]
    why: str
    remedy: str = ''
    harm: str = 'none'


def explain(found: Difference, distils: bool) -> List[Reason]:
    """Groups all differing keys; every key is in one group.

    Args:
        found: The differing keys.
        distils: Whether the config is one of distillation.
    """
    root = 'model.student' if distils else 'model'
    reasons = _distillation(found, distils)
    missing = {key for key in found.missing if not key.startswith(KD)}
    extra = {key for key in found.extra if not key.startswith(KD)}
    resized = {key: shapes for key, shapes in found.resized.items() if not key.startswith(KD)}
    moved = _prefix(missing, extra)
    fits = moved or resized or any(not key.startswith(KD) for key in found.same)
    if missing and not fits:
        why = 'nothing in the file belongs to this model'
        remedy = 'Is it a checkpoint of this config?'
        return [*reasons, Reason('missing', sorted(_tops(missing)), why, remedy, 'stops')]
    reasons += moved
    reasons += _identities(missing, extra, resized)
    reasons += _depth(missing, extra)
    reasons += _counters(missing, extra)
    reasons += _parts(missing, extra, root)
    reasons += _sizes(resized, root)
    return reasons


def _distillation(found: Difference, distils: bool) -> List[Reason]:
    missing = [key for key in found.missing if key.startswith(KD)]
    extra = [key for key in found.extra if key.startswith(KD)]
    resized = [key for key in found.resized if key.startswith(KD)]
    reasons = []
    if extra and not distils:
        why = 'trained by a distillation, of which this plain config needs nothing'
        return [Reason('extra', [f'{KD}*'], why)]
    in_file = extra or resized or any(key.startswith(KD) for key in found.same)
    if missing and not in_file:
        why = (
            'the file is of the plain model: as load_from it is fine, the transforms start anew; '
            '--resume would fail, because the optimiser has other parameters'
        )
        return [Reason('missing', [f'{KD}*'], why)]
    remedy = 'To resume, distill must be as it was; to start from the weights, all is fine.'
    for what, keys in (('missing', missing), ('extra', extra)):
        if keys:
            side = 'the config' if what == 'missing' else 'the checkpoint'
            why = f'only {side} has these parts: model.distill names, transforms or losses differ'
            reasons.append(Reason(what, _pairs(keys), why, remedy, 'warns'))
    if resized:
        before, now = found.resized[resized[0]]
        why = (
            f'{before} in the checkpoint, {now} here: a teacher of another width (model.teacher '
            'arch), or a tap with other channels (model.distill student=)'
        )
        reasons.append(Reason('resized', _pairs(resized), why, remedy, 'warns'))
    return reasons


def _identities(missing: Set[str], extra: Set[str], resized: Dict[str, Any]) -> List[Reason]:
    reasons = []
    for what, keys in (('missing', missing), ('extra', extra), ('resized', resized)):
        ours = sorted(key for key in keys if ID_CLASSIFIER in key)
        if not ours:
            continue
        why, harm = 'the identity classifier, which only training reads', 'none'
        if what == 'resized':
            (before, *_), (now, *_) = resized[ours[0]]
            harm = 'warns'
            why = (
                f'{before} identities in the checkpoint, {now} in the training data here: another '
                'train_dataloader.dataset. The classifier starts anew'
            )
        for key in ours:
            keys.pop(key) if isinstance(keys, dict) else keys.discard(key)
        remedy = 'Resuming needs the same training data.' if harm == 'warns' else ''
        reasons.append(Reason(what, ours, why, remedy, harm))
    return reasons


def _counters(missing: Set[str], extra: Set[str]) -> List[Reason]:
    """BatchNorm's, which came with a version of torch and of which nothing depends."""
    reasons = []
    for what, keys in (('missing', missing), ('extra', extra)):
        ours = sorted(key for key in keys if key.endswith('num_batches_tracked'))
        if ours:
            keys.difference_update(ours)
            named = [f'{len(ours)} num_batches_tracked']
            reasons.append(Reason(what, named, 'counters of BatchNorm, which change nothing'))
    return reasons


def _prefix(missing: Set[str], extra: Set[str]) -> List[Reason]:
    """The same names under another roof."""
    for path in sorted({key.split('.')[0] + '.' for key in extra}):
        moved = {key for key in missing if path + key in extra}
        if 2 * len(moved) >= len(missing) > 0:
            missing -= moved
            extra -= {path + key for key in moved}
            why = f'the file has them under {path!r}: its model is wrapped in another one'
            remedy = (
                f'Load that part: init_cfg=dict(type="Pretrained", checkpoint=..., '
                f'prefix="{path}"), or use the config that the file was trained with.'
            )
            return [Reason('missing', sorted(_tops(moved)), why, remedy, 'stops')]
    for path in sorted({key.split('.')[0] + '.' for key in missing}):
        moved = {key for key in missing if key.startswith(path) and key[len(path) :] in extra}
        if 2 * len(moved) >= len(missing) > 0:
            missing -= moved
            extra -= {key[len(path) :] for key in moved}
            part = path[:-1]
            why = f'the file has them without {path!r}: it is of that part alone'
            remedy = f'model.{part}.init_cfg=dict(type="Pretrained", checkpoint=FILE) loads it.'
            return [Reason('missing', [f'{path}*'], why, remedy, 'stops')]
    return []


def _depth(missing: Set[str], extra: Set[str]) -> List[Reason]:
    """A row of modules that goes on longer on one side."""
    reasons = []
    for what, keys in (('missing', missing), ('extra', extra)):
        rows: Dict[str, Set[int]] = defaultdict(set)
        for key in keys:
            match = _NUMBERED.match(key)
            if match:
                rows[match.group(1)].add(int(match.group(2)))
        for parent, numbers in sorted(rows.items()):
            ours = {key for key in keys if key.startswith(parent + '.')}
            # Only what stands behind a row that both sides have is a matter of depth.
            if min(numbers) == 0:
                continue
            keys -= ours
            side = 'the model' if what == 'missing' else 'the file'
            why = (
                f'{side} goes on to {parent}.{max(numbers)}, the other ends before '
                f'{parent}.{min(numbers)}: another depth'
            )
            named = [f'{parent}.{number}.*' for number in sorted(numbers)]
            harm = 'stops' if what == 'missing' else 'warns'
            reasons.append(Reason(what, named, why, 'Set the depth of the checkpoint.', harm))
    return reasons


def _parts(missing: Set[str], extra: Set[str], root: str) -> List[Reason]:
    reasons = []
    for top in sorted(_tops(missing | extra)):
        lacking = sorted(key for key in missing if key.startswith(top + '.') or key == top)
        surplus = sorted(key for key in extra if key.startswith(top + '.') or key == top)
        where = f'{root}.{top}'
        if lacking and surplus:
            why = f'{where} is of another type or has other options than in the checkpoint'
        elif lacking:
            why = f'{where}, or an option of it, is not in the checkpoint'
        else:
            why = f'{where}, or an option of it, is not in this config'
        remedy = f'Make {where} what it was in the training of the checkpoint.'
        if lacking:
            reasons.append(Reason('missing', lacking, why, remedy, 'stops'))
        if surplus:
            harm = 'none' if lacking else 'warns'
            reasons.append(Reason('extra', surplus, why, remedy, harm))
    return reasons


def _sizes(resized: Dict[str, Tuple[Shape, Shape]], root: str) -> List[Reason]:
    reasons = []
    for top in sorted(_tops(resized)):
        keys = sorted(key for key in resized if key.startswith(top + '.') or key == top)
        before, now = resized[keys[0]]
        outputs = [k for k in keys if _OUTPUTS.search(k) and resized[k][0][:1] != resized[k][1][:1]]
        others = [key for key in keys if key not in outputs]
        for group in (outputs, others):
            if not group:
                continue
            before, now = resized[group[0]]
            why = f'{before} in the checkpoint, {now} here: '
            why += (
                f'num_classes of {root}.{top} (or the classes of the data) differs'
                if group is outputs
                else f'{root}.{top} has another width (channels) or kernel'
            )
            remedy = (
                'Set what the checkpoint was trained with. Where the change is meant, these '
                'weights start anew.'
            )
            reasons.append(Reason('resized', group, why, remedy, 'stops'))
    return reasons


def _tops(keys: Sequence[str]) -> Set[str]:
    return {key.split('.')[0] for key in keys}


def _pairs(keys: List[str]) -> List[str]:
    return sorted({'.'.join(key.split('.')[:2]) + '.*' for key in keys})
