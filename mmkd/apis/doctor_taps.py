"""What is distilled: taps, features, and the transforms between them."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from mmkd.distill.dry_run import probe
from mmkd.distill.taps import Tap

from .doctor_case import Case, LeftOut, teachers_of
from .doctor_page import Section

Size = Tuple[int, int]

# What a report calls the taps of a loss that reads all of a model's answer.
ANSWER = 'the answer'


def look(case: Case, section: Section) -> None:
    """Two tables: maps with shape, stride and type; and what lies between them."""
    case.need_model()
    if case.distiller is None:
        raise LeftOut('The config does not distil.')
    pairs = case.distiller.report()['pairs']
    if not pairs:
        raise LeftOut('Every pair is switched off: its weight is 0.')
    seen = case.measured.shapes if case.measured is not None else {}
    if case.measured is None:
        seen = predict(case)
    sides, between = [], []
    section.data['pairs'] = []
    for pair in pairs:
        teacher = pair.get('teacher', 'teacher')
        feature = f'{teacher}.{pair["feature"]}'
        sides.append(
            (pair['name'], f'student {pair["tap"]}')
            + _shape(seen.get(pair['tap']), pair['student_channels'], pair['student_stride'])
        )
        sides.append(
            ('', f'teacher {pair["feature"] if teacher == "teacher" else feature}')
            + _shape(seen.get(feature), pair['teacher_channels'], pair['teacher_stride'])
        )
        weight = pair['weight']
        between.append(
            (
                pair['name'],
                pair['direction'],
                pair['transform'],
                f'{pair["transform_parameters"]:,}',
                pair['loss'],
                f'{weight:g}' if isinstance(weight, (int, float)) else str(weight),
            )
        )
        entry = {key: _plain(value) for key, value in pair.items()}
        entry['student_shape'], entry['teacher_shape'] = (
            list(seen[name][0]) if name in seen else None for name in (pair['tap'], feature)
        )
        section.data['pairs'].append(entry)
    section.table(('pair', 'map', 'channels x h x w', 'stride', 'type'), sides)
    section.table(('pair', 'direction', 'transform', 'parameters', 'loss', 'weight'), between)
    if case.size is not None:
        told = 'as seen in the timed step' if case.measured is not None else 'from a dry run'
        section.note(f'Shapes are for an input of {case.size[0]} x {case.size[1]} pixels, {told}.')


def predict(case: Case) -> Dict[str, Tuple[Tuple[int, ...], str]]:
    """Shapes without a step: the student's by a dry run, the teachers' from size and stride."""
    distiller, size = case.distiller, case.size
    if size is None:
        return {}
    found: Dict[str, Any] = {}
    pairs = distiller.report()['pairs']
    # To what the preprocessor pads to, as the network sees it.
    divisor = getattr(distiller.student.data_preprocessor, 'pad_size_divisor', 1) or 1
    size = tuple(-(-side // divisor) * divisor for side in size)
    # Which run of a module is meant, a dry run of one picture cannot tell.
    taps = [tap for pair in pairs for tap, run in taps_of(distiller.student, pair) if run is None]
    if not taps:
        return {}
    for shapes in ((1, 3, *size), {'img': (1, 1, 3, *size)}):
        infos, _ = probe(distiller.student, taps, shapes)
        for path, info in infos.items():
            grid = tuple(round(side / info.stride) for side in size)
            found[path] = ((1, info.channels, *grid), _type(distiller.student))
        if infos:
            break
    teachers = teachers_of(distiller)
    for pair in pairs:
        name = pair.get('teacher', 'teacher')
        teacher, stride = teachers[name], pair['teacher_stride']
        if isinstance(stride, (int, float)) and stride:
            grid = tuple(int(side // stride) for side in teacher.target_size(size))
            shape = (1, pair['teacher_channels'], *grid)
            found[f'{name}.{pair["feature"]}'] = (shape, _type(teacher))
    return found


def taps_of(student: Any, pair: Dict[str, Any]) -> List[Tuple[Tap, Optional[int]]]:
    """The taps of a pair of ``report()``, and which run of the module is meant, if it says.

    A pair of :class:`mmkd.SpecializedTeacherDistiller` may have several, or none.
    """
    found = []
    for path in pair['tap'].split(', '):
        bare, _, run = path.partition('@')
        if path != ANSWER:
            found.append((Tap(student, bare), int(run) if run else None))
    return found


def _type(module: Any) -> str:
    reference = next((p for p in module.parameters() if p.is_floating_point()), None)
    return '?' if reference is None else str(reference.dtype).split('.')[-1]


def _shape(seen: Optional[Tuple[Tuple[int, ...], str]], channels: Any, stride: Any) -> Tuple:
    stride = f'{stride:g}' if isinstance(stride, float) else str(stride)
    if seen is None:
        return f'{channels} x ? x ?', stride, '?'
    shape, kind = seen
    return ' x '.join(map(str, shape[1:])), stride, kind


def _plain(value: Any) -> Any:
    simple: List[type] = [str, int, float, bool, type(None)]
    return value if type(value) in simple else str(value)
