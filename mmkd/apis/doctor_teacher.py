"""Are the teachers' weights there, and do they load?"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mmkd.distill import Distiller
from mmkd.distill.teachers import CachedTeacher, Teacher

from .doctor_case import Case, LeftOut, teachers_of
from .doctor_model import build_model
from .doctor_page import Section

# What teachers call the place that their weights come from.
_SOURCES = ('weights', 'checkpoint')


def look(case: Case, section: Section) -> None:
    """Where each teacher's weights are, and whether they load."""
    case.need_model()
    distiller = case.distiller
    if distiller is None:
        raise LeftOut('The config does not distil.')
    used = set(distiller.needed)
    section.data['teachers'] = {}
    failed: List[str] = []
    for name, teacher in teachers_of(distiller).items():
        entry = _look_at(name, teacher, distiller, name in used, section)
        section.data['teachers'][name] = entry
        if entry['error']:
            failed.append(name)
    if not used:
        section.warn(
            'Distillation is switched off: alpha, or the weight of every pair, is 0.',
            'If that is meant, train the plain config, which is faster to start.',
        )
    case.teachers_ready = not failed
    case.failed_teachers = tuple(failed)
    if failed:
        _stand_in(case, failed, section)


def _look_at(
    name: str, teacher: Teacher, distiller: Distiller, used: bool, section: Section
) -> Dict[str, Any]:
    kind, place = source_of(teacher)
    entry: Dict[str, Any] = dict(
        describe=teacher.describe(), weights=kind, path=place, random=teacher.is_random, error=''
    )
    section.fact(name, teacher.describe())
    section.fact('', f'weights: {kind}' + (f', {place}' if place else ''))
    if not used:
        section.fact('', 'not loaded: nothing that is switched on reads it')
        return entry
    try:
        _load(teacher, distiller)
    except Exception as error:  # an MMKDError says all; others come from foreign code
        entry['error'] = f'{type(error).__name__}: {error}'
        section.stop(
            f'Teacher {name!r} has no weights: {error}',
            'Copy the file to this machine and name it: --cfg-options '
            f'model.{distiller.config_key(name)}.{_source_key(teacher)}=FILE.',
        )
        return entry
    entry['fingerprint'] = teacher.fingerprint()
    section.fact('', f'loaded; fingerprint {entry["fingerprint"][:16]}...')
    if teacher.is_random:
        by_name = ' (or timm)' if hasattr(teacher, 'timm_name') else ''
        section.warn(
            f'Teacher {name!r} has random weights: nothing can be learned from it.',
            f'For a real run: --cfg-options model.{distiller.config_key(name)}.'
            f'{_source_key(teacher)}=FILE{by_name}.',
        )
    return entry


def source_of(teacher: Teacher) -> Tuple[str, Optional[str]]:
    """What kind of source a teacher's weights have, and its path where there is one.

    Returns:
        'random'; 'timm', with its cached file; 'file' or 'folder' with its path; 'missing' with the
        path that was given; or 'its own' for a teacher that does not say.
    """
    if teacher.is_random:
        return 'random', None
    if isinstance(teacher, CachedTeacher):
        teacher = teacher.inner
    value = getattr(teacher, _source_key(teacher), None)
    if value is None:
        return 'its own', None
    if value == 'timm':
        return 'timm', _timm_file(getattr(teacher, 'timm_name', None))
    path = Path(str(value)).expanduser()
    if '://' in str(value):
        return 'download', str(value)
    if path.is_dir():
        return 'folder', str(path)
    return ('file' if path.is_file() else 'missing'), str(path)


def _timm_file(name: Optional[str]) -> str:
    """Where Hugging Face's cache has a model of timm's."""
    try:
        from huggingface_hub import try_to_load_from_cache
        from timm.models import get_pretrained_cfg

        repository = get_pretrained_cfg(name).hf_hub_id
        for file in ('model.safetensors', 'pytorch_model.bin'):
            path = try_to_load_from_cache(repository, file)
            if isinstance(path, str):
                return path
    except Exception:  # no such package, no such model: loading it will say why
        pass
    return f'{name}: not in the cache, so it is downloaded'


def _load(teacher: Teacher, distiller: Distiller) -> None:
    reference = next((p for p in distiller.student.parameters() if p.is_floating_point()), None)
    if teacher.loaded:
        return
    if hasattr(teacher, 'bind'):
        teacher.bind(distiller.student)
    if reference is None:
        teacher.load()
    else:
        teacher.load(reference.device, reference.dtype)


def _stand_in(case: Case, failed: List[str], section: Section) -> None:
    """Puts random networks of the same size in the place of what did not load, for timing."""
    cfg = copy.deepcopy(dict(case.cfg['model']))
    for name in failed:
        entry = _config_of(cfg, name)
        if not isinstance(entry, dict) or 'weights' not in entry:
            return
        entry['weights'] = 'random'
    try:
        model = build_model(case, cfg)
        for name in failed:
            _load(teachers_of(model)[name], model)
    except Exception:  # then the student alone is timed
        return
    case.model, case.teachers_ready = model, True
    section.note(
        'What follows was measured with random networks of the same size in place of '
        f'{", ".join(failed)}.'
    )


def _config_of(cfg: dict, name: str) -> Any:
    """Where a distiller's config has that teacher."""
    for key in ('teacher', 'general'):
        if key in cfg and name in (key, 'teacher'):
            return cfg[key]
    if name in (cfg.get('specialists') or {}):
        specialist = cfg['specialists'][name]
        return specialist if 'type' in specialist else specialist['teacher']
    return cfg['teachers'][name]


def _source_key(teacher: Teacher) -> str:
    if isinstance(teacher, CachedTeacher):
        return f'teacher.{_source_key(teacher.inner)}'
    return next((key for key in _SOURCES if hasattr(teacher, key)), _SOURCES[0])
