"""What a checkpoint's missing and extra keys say about the configs."""

from __future__ import annotations

from collections import defaultdict
from typing import Callable, Dict, Iterable, List, Sequence, Set, Tuple

from .state_dict import KD

# Parts of a distill entry, and the key of the entry that makes them.
_PARTS = {
    'transform': 'transform=',
    'loss': 'loss=',
    'standardize': 'standardize=',
    'weighting': 'weighting=',
}
# Parts of the distiller beside the entries.
_OWN = {'calibration': 'calibration=', 'balance': 'balance='}

Shapes = Sequence[Tuple[str, Tuple[int, ...], Tuple[int, ...]]]


def explain(
    missing: Iterable[str], unexpected: Iterable[str], shapes: Shapes, entries: Iterable[str]
) -> List[str]:
    """Sentences that name the config change behind keys that do not fit.

    Args:
        missing: Keys of the model that the checkpoint lacks, as a checkpoint writes them.
        unexpected: Keys of the checkpoint that the model lacks.
        shapes: (key, shape in the checkpoint, shape in the model) where these differ.
        entries: Names of the model's ``distill`` entries.

    Returns:
        One sentence per change; none if everything fits.
    """
    lacks, extra = _by_entry(missing), _by_entry(unexpected)
    sentences: List[str] = []
    kd_lacks = {name for name in lacks if name}
    whole = not any(_some_part_only(lacks[name]) for name in kd_lacks - set(_OWN))
    if kd_lacks >= set(entries) - set(_OWN) and kd_lacks and whole and not extra:
        sentences.append(
            'The checkpoint is of the student without distillation: what distillation trains '
            f'besides ({", ".join(sorted(kd_lacks))}) starts anew.'
        )
        kd_lacks = set()
    for name in sorted(kd_lacks | {name for name in extra if name}):
        sentences.extend(_entry(name, lacks.get(name, set()), extra.get(name, set()), entries))
    sentences.extend(_student(lacks.get('', set()), extra.get('', set())))
    sentences.extend(_shape(key, theirs, ours) for key, theirs, ours in shapes)
    return sentences


def _by_entry(keys: Iterable[str]) -> Dict[str, Set[str]]:
    """'distill.<entry>.<rest>' by entry; the student's keys under ''."""
    found: Dict[str, Set[str]] = defaultdict(set)
    for key in keys:
        parts = key.split('.', 2)
        if parts[0] == KD and len(parts) > 1:
            found[parts[1]].add(parts[2] if len(parts) > 2 else '')
        else:
            found[''].add(key)
    return found


def _entry(name: str, lacks: Set[str], extra: Set[str], entries: Iterable[str]) -> List[str]:
    if name in _OWN:
        had = 'the checkpoint has none' if lacks else 'the checkpoint was trained with it'
        return [f'{_OWN[name]} of the distiller differs: {had}.']
    if not lacks and name not in set(entries):
        return [
            f'The checkpoint was trained with a distill entry named {name!r}, which the config '
            'does not have (removed, renamed by name=, or made from another student= path).'
        ]
    if not extra and lacks and not _some_part_only(lacks):
        return [
            f'The distill entry {name!r} is new in the config: the checkpoint has nothing of it, '
            'so it starts anew.'
        ]
    sentences = []
    for part in sorted({key.split('.')[0] for key in lacks | extra}):
        option = _PARTS.get(part, part)
        kind = 'another kind of'
        if not any(key.startswith(part + '.') for key in extra):
            kind = 'no trained'
        elif not any(key.startswith(part + '.') for key in lacks):
            kind = 'a trained, in the config untrained or absent,'
        sentences.append(
            f'{option} of the distill entry {name!r} differs: the checkpoint has {kind} {part} '
            f'there.'
        )
    return sentences


def _some_part_only(lacks: Set[str]) -> bool:
    """Whether the keys are of parts that an entry can gain, rather than of its transform."""
    return all(key.split('.')[0] in ('loss', 'standardize', 'weighting') for key in lacks)


def _student(lacks: Set[str], extra: Set[str]) -> List[str]:
    sentences = []
    for keys, what in ((lacks, 'lacks'), (extra, 'has besides')):
        if keys:
            tops = sorted({key.split('.')[0] for key in keys})
            example = sorted(keys)[0]
            sentences.append(
                f"The checkpoint {what} {len(keys)} of the student's keys in {', '.join(tops)} "
                f'(such as {example!r}): the student= of the config is another model than the one '
                'that was saved.'
            )
    return sentences


def _shape(key: str, theirs: Tuple[int, ...], ours: Tuple[int, ...]) -> str:
    said = f'{key} is {theirs} in the checkpoint and {ours} in the model: '
    if not key.startswith(KD + '.'):
        return said + 'the student= of the config has another size (classes, identities, width).'
    if len(theirs) == len(ours) and len(ours) > 1 and theirs[1] != ours[1]:
        if theirs[0] != ours[0]:
            return said + 'both ends of that transform changed (another tap and another teacher).'
        return said + 'the tapped module of the student has another number of channels.'
    return said + (
        'the teacher has another number of channels (another arch= or feature), or the width of '
        'the transform changed.'
    )


def mismatched(
    state: Dict, own: Dict, rename: Callable[[str], str]
) -> List[Tuple[str, Tuple[int, ...], Tuple[int, ...]]]:
    """The keys of both whose shapes differ.

    Args:
        state: What is loaded.
        own: The model's tensors, under the same names.
        rename: From those names to what a checkpoint calls them.
    """
    found = []
    for key, value in own.items():
        other = state.get(key)
        if other is not None and hasattr(other, 'shape') and other.shape != value.shape:
            found.append((rename(key), tuple(other.shape), tuple(value.shape)))
    return found
