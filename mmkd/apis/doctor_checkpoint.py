"""Does a checkpoint belong to this model, and if not, which setting differs?"""

from __future__ import annotations

import os.path as osp
from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.config import Config
from torch import Tensor

from mmkd.errors import MMKDError

from .doctor_case import Case, teachers_of
from .doctor_explain import Difference, explain
from .doctor_page import Section, some

_FINGERPRINT = '.fingerprint'
_TEACHERS = 'distill.teachers.'
# More settings than these would hide the one that matters.
_MOST_CHANGES, _LONGEST = 12, 40


def look(case: Case, section: Section) -> None:
    """Compares a checkpoint's keys, shapes and teachers with the model's."""
    model = case.need_model()
    content = load(case.checkpoint)
    state = state_of(content, case.checkpoint)
    teachers = {key: state.pop(key) for key in list(state) if key.startswith(_TEACHERS)}
    own = {k: v for k, v in model.state_dict().items() if not k.startswith(_TEACHERS)}
    found = Difference.between(own, state)
    meta = content.get('meta') or {} if isinstance(content, dict) else {}
    section.fact('file', _told(case.checkpoint, content, meta))
    section.fact(
        'keys',
        f'{len(found.same):,} fit; {len(found.missing):,} missing, {len(found.extra):,} extra, '
        f'{len(found.resized):,} of another shape',
    )
    section.data.update(
        file=case.checkpoint,
        fit=len(found.same),
        missing=found.missing,
        extra=found.extra,
        resized={key: [list(a), list(b)] for key, (a, b) in found.resized.items()},
    )
    for reason in explain(found, case.distiller is not None):
        section.fact(reason.what, f'{some(reason.keys)}: {reason.why}')
        if reason.harm == 'stops':
            section.stop(f'{reason.what} {some(reason.keys)}: {reason.why}', reason.remedy)
        elif reason.harm == 'warns':
            section.warn(f'{reason.what} {some(reason.keys)}: {reason.why}', reason.remedy)
    changes = config_changes(meta.get('cfg'), case.cfg)
    section.data['config_changes'] = [list(change) for change in changes]
    if changes:
        rows = [(path, before, now) for path, before, now in changes]
        section.note("Settings of the model that the checkpoint's own config has otherwise:")
        section.table(('setting', 'checkpoint', 'this config'), rows)
    _fingerprints(case, teachers, section)


def load(path: str) -> Any:
    """Reads a checkpoint of a training, or a bare state dict.

    Raises:
        MMKDError: It cannot be read.
    """
    if not osp.isfile(path):
        raise MMKDError(f'There is no checkpoint {path!r}.')
    try:
        # A training checkpoint holds mmengine's own history objects beside the tensors.
        return torch.load(path, map_location='cpu', weights_only=False)
    except Exception as error:
        raise MMKDError(f'{path!r} cannot be read as a checkpoint: {error}') from error


def state_of(content: Any, path: str) -> Dict[str, Tensor]:
    """The tensors of a checkpoint, without the ``module.`` of data parallel training.

    Raises:
        MMKDError: There are none.
    """
    state = content.get('state_dict', content) if isinstance(content, dict) else {}
    state = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not state:
        raise MMKDError(f"{path!r} holds no tensors; expected a 'state_dict'.")
    if all(key.startswith('module.') for key in state):
        state = {key[len('module.') :]: value for key, value in state.items()}
    return state


def config_changes(text: Optional[str], cfg: Config) -> List[Tuple[str, str, str]]:
    """Settings of the model that differ between a checkpoint's own config and this one.

    Args:
        text: What mmengine stores as ``meta['cfg']``.
        cfg: This config.

    Returns:
        Up to 12 of (path, checkpoint's value, this config's), '-' where there is none.
    """
    if not isinstance(text, str):
        return []
    try:
        stored = Config.fromstring(text, '.py')
    except Exception:  # written by another version, or with what is not installed here
        return []
    before, now = _flat(_student(stored.get('model')), ''), _flat(_student(cfg.get('model')), '')
    paths = [path for path in {**before, **now} if 'init_cfg' not in path]
    root = 'model.student' if 'student' in (cfg.get('model') or {}) else 'model'
    changed = [
        (f'{root}{path}', before.get(path, '-'), now.get(path, '-'))
        for path in paths
        if before.get(path) != now.get(path)
    ]
    return changed[:_MOST_CHANGES]


def _student(model: Any) -> Any:
    model = dict(model or {})
    return model.get('student', model)


def _flat(value: Any, path: str) -> Dict[str, str]:
    if isinstance(value, dict):
        out: Dict[str, str] = {}
        for key, item in value.items():
            out.update(_flat(item, f'{path}.{key}'))
        return out
    text = repr(list(value) if isinstance(value, tuple) else value)
    return {path: text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'}


def _told(path: str, content: Any, meta: Dict[str, Any]) -> str:
    told = [path]
    if 'epoch' in meta:
        told.append(f'epoch {meta["epoch"]}, iteration {meta.get("iter", "?")}')
    kinds: List[Tuple[str, str]] = [
        ('optimizer', 'can be resumed'),
        ('ema_state_dict', 'with an average of the weights'),
    ]
    told += [text for key, text in kinds if isinstance(content, dict) and key in content]
    return '; '.join(told)


def _fingerprints(case: Case, stored: Dict[str, Tensor], section: Section) -> None:
    """Whether the teachers are those that the checkpoint was trained with."""
    before = {
        key[len(_TEACHERS) : -len(_FINGERPRINT)]: bytes(value.tolist()).hex()
        for key, value in stored.items()
        if key.endswith(_FINGERPRINT)
    }
    section.data['fingerprints'] = before
    if not before:
        return
    if case.distiller is None:
        section.fact('teachers', f'{some(sorted(before))}; a plain config does not need them')
        return
    present = teachers_of(case.distiller)
    for name, fingerprint in before.items():
        if name not in present:
            section.warn(
                f'The checkpoint was trained with a teacher {name!r}, which the config has not.',
                f'It has {some(sorted(present))}. To resume, give it back.',
            )
        elif name in case.failed_teachers or not present[name].loaded:
            section.fact('teacher', f'{name}: {fingerprint[:16]}..., nothing here to compare with')
        elif present[name].fingerprint() == fingerprint:
            section.fact('teacher', f'{name}: the same, {fingerprint[:16]}...')
        else:
            section.stop(
                f'Teacher {name!r} is another one: the checkpoint was trained with the '
                f'fingerprint {fingerprint}, and here it is {present[name].fingerprint()}.',
                'Resuming is refused. A fingerprint covers weights, precision and preprocessing: '
                "compare them, or say that it is meant: model.on_other_teacher='warn'.",
            )
    for name in sorted(set(present) - set(before)):
        section.warn(f'Teacher {name!r} is new: the checkpoint does not know it.')
