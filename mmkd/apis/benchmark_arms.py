"""What a benchmark of distillation compares: the same step with one thing changed each time."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, print_log

from mmkd.distill import Distiller, Teacher
from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

# In mid-training: past any warm-up, before any end.
ITER = 1000
MAX_ITERS = 3000
MAX_EPOCHS = 30

STUDENT, TEACHER, KD = 'student', 'teacher', 'kd'


@dataclass(frozen=True)
class Arm:
    """One way to take a step.

    Attributes:
        name: For tables.
        what: What is different, in a few words.
        kind: 'student' alone, 'teacher' alone, or 'kd'.
        teacher: Options of the teachers that are replaced.
        model: Options of the distiller that are replaced.
        entry: Options of each entry of ``distill`` that are replaced.
        feature: What each entry reads instead of its feature.
        also: A feature that is requested besides.
        channels_last: The student's layout, the config's if None.
        first_iter: Where training stands in the first step; in all others at :data:`ITER`.
    """

    name: str
    what: str
    kind: str = KD
    teacher: Dict[str, Any] = field(default_factory=dict)
    model: Dict[str, Any] = field(default_factory=dict)
    entry: Dict[str, Any] = field(default_factory=dict)
    feature: Optional[str] = None
    also: Optional[str] = None
    channels_last: Optional[bool] = None
    first_iter: int = ITER


BASE = (
    Arm(STUDENT, 'the task alone, without a distiller', kind=STUDENT),
    Arm(TEACHER, "the teachers' networks alone, on input that is ready", kind=TEACHER),
    Arm(KD, 'distillation as the config has it'),
)


def make_arms(cfg: Config, distiller: Distiller, device: str, batch: int) -> List[Arm]:
    """All arms that make a difference for a config: :data:`BASE` and one for each switch.

    Args:
        cfg: The config.
        distiller: Made from it.
        device: Where it will run.
        batch: Images of a batch.
    """
    arms = list(BASE)
    cuda = torch.device(device).type == 'cuda'
    dtypes = ('fp32', 'bf16', 'fp16') if cuda else ('fp32', 'bf16')
    arms += [
        Arm(f'dtype={d}', f"the teachers' weights in {d}", teacher={'dtype': d}) for d in dtypes
    ]
    arms.append(Arm('dtype=auto', 'their fastest type here', teacher={'dtype': 'auto'}))
    arms += _truncation(distiller)
    if batch > 1:
        arms.append(Arm('micro-batch=1', 'one image at a time', teacher={'micro_batch': 1}))
    arms.append(Arm('compile', "the teachers' networks compiled", teacher={'compile': True}))
    if cuda:
        arms.append(Arm('stream', 'teachers on streams of their own', teacher={'stream': True}))
    arms += [
        Arm('no-mask', 'padding counts as picture', model={'mask': False}),
        Arm('no-nan-guard', 'nobody looks for NaN', model={'nan_policy': 'off'}),
        Arm('alpha=0', 'the distiller with nothing to distil', model={'alpha': 0.0}),
        Arm(
            'stopped',
            'distillation is over, the teachers are released',
            entry={'weight': dict(value=1.0, stop_iter=ITER)},
            first_iter=ITER - 1,
        ),
    ]
    last = not cfg.get('channels_last', False)
    layout = 'channels_last' if last else 'contiguous'
    arms += [
        Arm(f'student,{layout}', f'the task alone, {layout}', STUDENT, channels_last=last),
        Arm(f'kd,{layout}', f'distillation, {layout}', channels_last=last),
    ]
    return arms


def _truncation(distiller: Distiller) -> Iterator[Arm]:
    teachers = list(distiller.teachers.values())
    if not all('last' in teacher.channels for teacher in teachers):
        return
    if any('last' not in teacher._requested for teacher in teachers):
        yield Arm('no-truncation', 'blocks run that nobody reads', also='last')
    blocks = [sum(bool(re.fullmatch(r'block_\d+', n)) for n in t.channels) for t in teachers]
    if min(blocks) > 1:
        middle = f'block_{min(blocks) // 2 - 1}'
        yield Arm(middle, f'{middle} is read instead; truncated there', feature=middle)
        yield Arm(
            f'{middle},no-truncation', 'the same, all blocks run', feature=middle, also='last'
        )


def choose(arms: List[Arm], names: Optional[List[str]]) -> List[Arm]:
    """:data:`BASE` and those that were asked for by name; all if None.

    Raises:
        MMKDError: There is no such arm.
    """
    if names is None:
        return arms
    known = [arm.name for arm in arms]
    for name in names:
        if name not in known:
            raise MMKDError(f'There is no arm {name!r} here. {nearest(name, known)}')
    base = [arm.name for arm in BASE]
    return [arm for arm in arms if arm.name in base or arm.name in names]


def build_arm(
    cfg: Config, arm: Arm, device: str, ids: int, random_teacher: bool = False
) -> Distiller:
    """The distiller of an arm, with the same weights for every arm, ready to train.

    Args:
        cfg: A config of distillation.
        arm: What to change.
        device: Where it goes.
        ids: Identities that a student with a classifier of them is made for.
        random_teacher: Whether the teachers get random weights instead of the config's.

    Raises:
        MMKDError: The config is of no distillation, or an option does not go with it.
    """
    distiller = bare_distiller(cfg, arm, random_teacher)
    if arm.also:
        for teacher in distiller.teachers.values():
            teacher.request([arm.also])
    set_num_ids = getattr(distiller.student, 'set_num_ids', None)
    if set_num_ids is not None:
        set_num_ids(ids)
    last = cfg.get('channels_last', False) if arm.channels_last is None else arm.channels_last
    if last:
        distiller.to(memory_format=torch.channels_last)
    distiller.to(device)
    set_progress(arm.first_iter)
    if arm.kind == STUDENT:
        distiller.student.train()
        return distiller
    return distiller.train()


def bare_distiller(cfg: Config, arm: Arm = BASE[2], random_teacher: bool = False) -> Distiller:
    """The distiller of an arm as its config makes it: no weights of teachers, on the CPU."""
    if 'model' not in cfg:
        raise MMKDError('The config has no model.')
    model = copy.deepcopy(cfg.model.to_dict())
    several = model.get('teachers')
    if several:
        model['teachers'] = several = {name: _live(each) for name, each in several.items()}
    elif model.get('teacher'):
        model['teacher'] = _live(model['teacher'])
    for options in several.values() if several else [model.get('teacher') or {}]:
        options.update(arm.teacher)
        # The student's own average has no weights to read.
        if random_teacher and 'weights' in options:
            options['weights'] = 'random'
    model.update(arm.model)
    entries = []
    for entry in model.get('distill', ()):
        entry = {**entry, **arm.entry}
        if arm.feature:
            prefix = entry['teacher'].partition('.')[0] + '.' if several else ''
            entry['teacher'] = prefix + arm.feature
        entries.append(entry)
    if entries:
        model['distill'] = entries
    torch.manual_seed(0)
    try:
        distiller = MODELS.build(model)
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise MMKDError(f'The model of the config cannot be built: {error}') from error
    if not isinstance(distiller, Distiller):
        raise MMKDError(
            f'The config is of a {type(distiller).__name__}; expected one of a distillation, such '
            'as those in configs/kd.'
        )
    return distiller


def _live(teacher: Dict[str, Any]) -> Dict[str, Any]:
    """What a cached teacher wraps: batches that a benchmark makes are in no cache."""
    if teacher.get('type') not in ('mmkd.CachedTeacher', 'CachedTeacher'):
        return teacher
    print_log(
        f"The teacher of the cache '{teacher.get('path')}' is timed live; "
        'tools/analysis_tools/benchmark_cache.py times the cache.',
        logger='current',
    )
    return teacher['teacher']


def set_progress(step: int) -> None:
    """Tells schedules how far training has come."""
    hub = MessageHub.get_current_instance()
    hub.update_info('iter', step)
    hub.update_info('max_iters', MAX_ITERS)
    hub.update_info('max_epochs', MAX_EPOCHS)


def teacher_bytes(teachers: Dict[str, Teacher]) -> int:
    """What the weights of loaded teachers take."""
    nets = [teacher.net for teacher in teachers.values() if teacher.loaded]
    tensors = [t for net in nets for t in (*net.parameters(), *net.buffers())]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
