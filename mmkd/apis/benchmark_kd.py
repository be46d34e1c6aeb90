"""Steps of distillation, timed in turns."""

from __future__ import annotations

import platform
import statistics
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope

from mmkd.distill import Distiller
from mmkd.distill.images import to_rgb
from mmkd.errors import MMKDError

from .benchmark_arms import (
    ITER,
    KD,
    STUDENT,
    TEACHER,
    Arm,
    bare_distiller,
    build_arm,
    choose,
    make_arms,
    set_progress,
    teacher_bytes,
)
from .benchmark_batch import Batch, make_batch
from .benchmark_memory import peak, peak_in_child, reset_peak
from .benchmark_sync import syncs

CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}
AMP = {'bf16': torch.bfloat16, 'fp16': torch.float16}
# What the engine is built for; see :func:`summarise`.
MOST_OF_SUM, MOST_OF_STUDENT, MOST_MEMORY = 1.05, 1.35, 1.10


@dataclass(frozen=True)
class Settings:
    """What a benchmark runs.

    Attributes:
        config: File of a config of distillation.
        cfg_options: What replaces its settings.
        size: (H, W) of the images.
        batch: Images of a batch.
        boxes: Objects of an image.
        ids: Identities.
        steps: Turns of each arm.
        repeat: Steps of a turn: on a GPU, more than one lets the host run ahead as in training.
        warmup: Turns that are not counted.
        device: Where.
        clock: 'wall', or 'cpu', a processor's time, for a machine that others use as well.
        amp: 'bf16' or 'fp16': the student under autocast.
        random_teacher: Whether teachers get random weights, which take as long.
        arms: Names of those to compare; None: all.
    """

    config: str
    cfg_options: Optional[Dict[str, Any]] = None
    size: Tuple[int, int] = (608, 1088)
    batch: int = 2
    boxes: int = 30
    ids: int = 500
    steps: int = 10
    repeat: int = 1
    warmup: int = 2
    device: str = 'cpu'
    clock: str = 'wall'
    amp: Optional[str] = None
    random_teacher: bool = False
    arms: Optional[Sequence[str]] = None

    def __post_init__(self) -> None:
        if min(self.batch, self.boxes, self.steps, self.repeat, *self.size) < 1:
            raise MMKDError('Sizes, images, boxes and steps of a benchmark are 1 or more.')
        if self.ids < 0 or self.warmup < 1:
            raise MMKDError('A benchmark needs --ids of 0 or more and --warmup of 1 or more.')
        if self.amp is not None and self.amp not in AMP:
            raise MMKDError(f'There is no amp={self.amp!r}; there are {", ".join(AMP)}.')
        cuda = torch.device(self.device).type == 'cuda'
        if cuda and not torch.cuda.is_available():
            raise MMKDError(f'There is no device {self.device!r}: this torch sees no GPU.')
        if self.clock not in CLOCKS or (cuda and self.clock == 'cpu'):
            raise MMKDError(f"clock is 'wall' or, of a processor, 'cpu', but got {self.clock!r}.")

    def read(self) -> Config:
        """The config."""
        cfg = Config.fromfile(self.config)
        if self.cfg_options:
            cfg.merge_from_dict(dict(self.cfg_options))
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        return cfg


class Runner:
    """Takes the steps of one arm.

    Args:
        arm: Which.
        settings: How.
        cfg: The config, read.
    """

    def __init__(self, arm: Arm, settings: Settings, cfg: Config):
        self.arm = arm
        self.settings = settings
        self.distiller: Distiller = build_arm(
            cfg, arm, settings.device, settings.ids, settings.random_teacher
        )
        self.batch: Batch = make_batch(
            self.distiller.student,
            settings.size,
            settings.batch,
            settings.boxes,
            settings.ids,
            settings.device,
        )
        self._started = False
        self.step: Callable[[], Any] = {
            STUDENT: self._student_step,
            TEACHER: self._teacher_step(),
            KD: self._kd_step,
        }[arm.kind]

    def turn(self) -> float:
        """Takes the steps of a turn; returns the seconds of one."""
        set_progress(ITER if self._started else self.arm.first_iter)
        self._started = True
        clock = CLOCKS[self.settings.clock]
        self._wait()
        begin = clock()
        for _ in range(self.settings.repeat):
            self.step()
        self._wait()
        return (clock() - begin) / self.settings.repeat

    def dtypes(self) -> str:
        """The types of the teachers' weights."""
        found = {
            str(next(teacher.net.parameters()).dtype).rsplit('.', maxsplit=1)[-1]
            for teacher in self.distiller.teachers.values()
            if teacher.loaded
        }
        return ', '.join(sorted(found))

    def autocast(self):
        """The student's precision."""
        if self.settings.amp is None:
            return nullcontext()
        return torch.autocast(torch.device(self.settings.device).type, AMP[self.settings.amp])

    def _student_step(self) -> None:
        self._train(self.distiller.student)

    def _kd_step(self) -> None:
        self._train(self.distiller)

    def _train(self, model: Any) -> None:
        model.zero_grad(set_to_none=True)
        with self.autocast():
            losses = model(self.batch.inputs, self.batch.samples, mode='loss')
            total, _ = self.distiller.student.parse_losses(losses)
        total.backward()

    def _teacher_step(self) -> Callable[[], None]:
        if self.arm.kind != TEACHER:
            return lambda: None
        distiller = self.distiller
        teachers = [t for t in distiller.teachers.values() if t.loaded]
        images = to_rgb(self.batch.inputs, distiller.student.data_preprocessor, distiller.image_key)
        with torch.no_grad():
            ready = [teacher.preprocess(images) for teacher in teachers]

        def step() -> None:
            with self.autocast():
                for teacher, x in zip(teachers, ready):
                    teacher.run(x)

        return step

    def _wait(self) -> None:
        if torch.device(self.settings.device).type == 'cuda':
            torch.cuda.synchronize(self.settings.device)


class Timed(NamedTuple):
    """What came of the turns.

    Attributes:
        runners: Arm to runner, of those that could run.
        seconds: Arm to seconds of a step in each counted turn.
        left_out: Arm to the reason why it could not run.
    """

    runners: Dict[str, Runner]
    seconds: Dict[str, List[float]]
    left_out: Dict[str, str]


def time_arms(settings: Settings, cfg: Config, arms: List[Arm]) -> Timed:
    """Builds the arms and lets them take turns, each round in another order.

    Raises:
        MMKDError: The config as it is cannot run; a switch that cannot is left out.
    """
    runners: Dict[str, Runner] = {}
    left_out: Dict[str, str] = {}
    for arm in arms:
        print_log(f'Preparing {arm.name}', logger='current')
        try:
            runner = Runner(arm, settings, cfg)
            for _ in range(settings.warmup):
                runner.turn()
            runners[arm.name] = runner
        except MMKDError as error:
            if arm.name in (STUDENT, TEACHER, KD):
                raise
            left_out[arm.name] = str(error)
    names = list(runners)
    seconds: Dict[str, List[float]] = {name: [] for name in names}
    for number in range(settings.steps):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(runners[name].turn())
    return Timed(runners, seconds, left_out)


def benchmark(settings: Settings, memory: bool = True) -> Dict[str, Any]:
    """Times all arms, and measures what each needs.

    Args:
        settings: What to run.
        memory: Whether to measure memory, for which every arm runs once more in a process of
            its own.

    Returns:
        Plain values, for JSON: ``settings``, ``machine``, ``teachers``, ``arms`` (each with
        ``what``, ``seconds``, the median, ``to_student`` and ``to_kd``, medians of the ratios
        within one round, ``dtype`` and ``peak_bytes``), ``left_out``, ``sync`` and ``summary``.
    """
    cfg = settings.read()
    plain = bare_distiller(cfg, random_teacher=settings.random_teacher)
    arms = choose(make_arms(cfg, plain, settings.device, settings.batch), settings.arms)
    del plain
    timed = time_arms(settings, cfg, arms)
    base = timed.runners[KD]
    found: Dict[str, Dict[str, Any]] = {}
    for arm in arms:
        if arm.name not in timed.seconds:
            continue
        own = timed.seconds[arm.name]
        found[arm.name] = dict(
            what=arm.what,
            seconds=statistics.median(own),
            all_seconds=own,
            to_student=_ratio(own, timed.seconds[STUDENT]),
            to_kd=_ratio(own, timed.seconds[KD]),
            dtype=timed.runners[arm.name].dtypes() if arm.kind != STUDENT else '',
            peak_bytes=None,
        )
    result = dict(
        settings=asdict(settings),
        machine=machine(settings.device),
        teachers={n: t.describe() for n, t in base.distiller.teachers.items()},
        teacher_bytes=teacher_bytes(base.distiller.teachers),
        arms=found,
        left_out=timed.left_out,
        sync=syncs(base),
        sum_ratios=[
            kd / (student + teacher)
            for kd, student, teacher in zip(*(timed.seconds[n] for n in (KD, STUDENT, TEACHER)))
        ],
    )
    del timed, base
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if memory:
        for name, values in found.items():
            print_log(f'Memory of {name}', logger='current')
            values['peak_bytes'] = peak_in_child(settings, name)
    result['summary'] = summarise(result)
    return result


def peak_of(settings: Settings, name: str) -> Optional[int]:
    """The most bytes that an arm holds during a step; meant for a fresh process.

    On CUDA those of torch's allocator. Elsewhere the resident memory of the process beyond what
    it had before the model was made, all libraries loaded; None where the system does not tell.
    """
    cfg = settings.read()
    plain = bare_distiller(cfg, random_teacher=settings.random_teacher)
    arm = next(a for a in make_arms(cfg, plain, settings.device, settings.batch) if a.name == name)
    if torch.device(settings.device).type == 'cpu':
        # Whatever distillation imports is then no arm's own.
        plain.train()
    del plain
    before = reset_peak(settings.device)
    runner = Runner(arm, settings, cfg)
    for _ in range(settings.warmup):
        runner.turn()
    reset_peak(settings.device)
    runner.turn()
    return peak(settings.device, before)


def summarise(result: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The engine's aims beside what was found: ``what``, ``found``, ``aim`` and ``met``."""
    arms, student, kd = result['arms'], result['arms'][STUDENT], result['arms'][KD]
    rows = [
        ('kd step / (student step + bare teacher)', statistics.median(result['sum_ratios'])),
        ('kd step / student step', kd['to_student']),
    ]
    aims: List[Optional[float]] = [MOST_OF_SUM, None]
    if result['machine']['device'] != 'cpu':
        aims = [None, MOST_OF_STUDENT]
    for name in ('alpha=0', 'stopped'):
        if name in arms:
            rows.append((f'{name} step / student step', arms[name]['to_student']))
            aims.append(None)
    if student['peak_bytes'] and kd['peak_bytes']:
        allowed = student['peak_bytes'] + result['teacher_bytes']
        rows.append(('kd memory / (student + teacher weights)', kd['peak_bytes'] / allowed))
        aims.append(MOST_MEMORY)
    return [
        dict(what=what, found=value, aim=aim, met=None if aim is None else value <= aim)
        for (what, value), aim in zip(rows, aims)
    ]


def machine(device: str) -> Dict[str, Any]:
    """Where this runs."""
    cuda = torch.device(device).type == 'cuda'
    return dict(
        device=torch.device(device).type,
        name=torch.cuda.get_device_name(device) if cuda else platform.machine(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
    )


def _ratio(own: List[float], base: List[float]) -> float:
    return statistics.median(a / b for a, b in zip(own, base))
