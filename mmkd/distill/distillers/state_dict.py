"""Student-first state dicts: what is saved is the student, under its own names.

A distiller's modules are ``student`` and ``distill``. In its state dict the student's keys have
no prefix, in the order of the plain model, and those of ``distill.`` come after. The functions
here rename on the way out and on the way in, wherever the distiller stands (under DDP's or EMA's
``module.``), for torch's own ``state_dict`` and ``load_state_dict`` as for mmengine's.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from torch import nn

STUDENT = 'student'
KD = 'distill'


def save_student_first(module: nn.Module, state: Dict, prefix: str, local_metadata: Dict) -> None:
    """State dict hook: renames in ``state`` what ``module`` has just put there."""
    _rename(state, prefix, lambda rest: _outward(rest, '.'))
    metadata = getattr(state, '_metadata', None)
    if metadata is not None:
        # Metadata is keyed by module: 'module', 'module.student', 'module.student.backbone'.
        own = prefix[:-1]
        student = metadata.pop(prefix + STUDENT, None)
        if student is not None:
            metadata[own] = student
        _rename(metadata, prefix, lambda rest: _outward(rest, '.'))


def load_student_first(state: Dict, prefix: str) -> List[str]:
    """Undoes :func:`save_student_first` in the loader's own copy, before children are loaded.

    Returns:
        What must be taken back by :func:`loaded`: names added to the metadata, which is the
        caller's. (Below ``module.`` no loader of torch hands it on: there the versions of the
        student's modules are unknown, as in a file without metadata.)
    """
    _rename(state, prefix, _inward)
    metadata = getattr(state, '_metadata', None)
    if metadata is None or prefix:
        return []
    added = {
        STUDENT + ('.' + name if name else ''): value
        for name, value in metadata.items()
        if name != KD and not name.startswith(KD + '.')
    }
    added = {name: value for name, value in added.items() if name not in metadata}
    metadata.update(added)
    return list(added)


def take_back(state: Dict, added: List[str]) -> None:
    """Removes what :func:`load_student_first` added to the metadata."""
    for name in added:
        getattr(state, '_metadata', {}).pop(name, None)


def name_as_saved(keys: List[str], prefix: str) -> None:
    """Renames in place keys that are reported missing or unexpected, as the file has them."""
    inner = prefix + STUDENT + '.'
    keys[:] = [prefix + key[len(inner) :] if key.startswith(inner) else key for key in keys]


def _outward(rest: str, separator: str) -> Optional[str]:
    if rest.startswith(STUDENT + separator):
        return rest[len(STUDENT) + 1 :]
    return None


def _inward(rest: str) -> Optional[str]:
    return None if rest.startswith(KD + '.') else f'{STUDENT}.{rest}'


def _rename(mapping: Dict[str, Any], prefix: str, rule: Callable[[str], Optional[str]]) -> None:
    """Renames keys below ``prefix``; the renamed come first, the others after them, in order."""
    ours = [key for key in mapping if key.startswith(prefix) and key != prefix[:-1]]
    renamed, kept = {}, {}
    for key in ours:
        rest = key[len(prefix) :]
        name = rule(rest) if rest else None
        value = mapping.pop(key)
        if name is None:
            kept[key] = value
        else:
            renamed[prefix + name] = value
    mapping.update(renamed)
    mapping.update(kept)
