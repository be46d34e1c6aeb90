"""One training step on this machine, in parts."""

from __future__ import annotations

import copy
import math
import sys
import time
from contextlib import ExitStack, contextmanager
from itertools import count
from statistics import median_low
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from mmkd.distill.taps import Tap
from mmkd.errors import MMKDError

from .doctor_case import Case, LeftOut, Measured, teachers_of
from .doctor_environment import cores
from .doctor_page import Section, count_of, duration
from .doctor_progress import at_work, run_length
from .doctor_stopwatch import Stopwatch, state_bytes
from .doctor_taps import taps_of

# In the order in which a step does them.
_PARTS = {
    'preprocess': 'to the device, normalise',
    'student': 'student forward and task loss',
    'teacher': 'teacher',
    'kd': 'transforms, masks and KD loss',
    'update': 'backward and optimiser',
    'other': 'the rest',
}
# Shares of a step below these are not worth a line, or a warning.
_SMALL, _LONG_WAIT = 0.001, 0.1


def look(case: Case, section: Section) -> None:
    """Times some training steps."""
    if not case.steps:
        raise LeftOut('Left out: --no-time.')
    model, loader = case.need_model(), case.need_loader()
    if not len(loader):
        raise LeftOut('Left out: the training data make no batch.')
    if not case.teachers_ready:
        section.note('A teacher did not load, so that the student was timed alone.')
        model = case.distiller.student
    if (case.cfg.get('env_cfg') or {}).get('cudnn_benchmark'):
        # As the runner does it; it changes which kernels are timed.
        torch.backends.cudnn.benchmark = True
    optim_cfg, length = case.cfg['optim_wrapper'], run_length(case.cfg, len(loader))
    try:
        with at_work(model, *length) as when:
            case.measured = measure(model, loader, optim_cfg, case.device, case.steps)
        if when:
            section.note(f'Timed as in iteration {when:,}, where what the schedules switch is on.')
    except torch.cuda.OutOfMemoryError as error:
        raise MMKDError(
            f'A step of {case.batch_size} samples does not fit into the memory of the GPU. {error}'
        ) from error
    _tell(case, section)


def measure(
    model: nn.Module, loader: Any, optim_cfg: dict, device: torch.device, steps: int
) -> Measured:
    """Trains a model a few steps; it is not the same afterwards.

    Args:
        model: An OpenMMLab model, or a distiller.
        loader: Its training data.
        optim_cfg: Config of the optimiser's wrapper.
        device: Where the model is.
        steps: How many steps are timed.
    """
    model.init_weights()
    model.train()
    optimiser = build_optim_wrapper(model, copy.deepcopy(dict(optim_cfg)))
    for group in getattr(getattr(optimiser, 'optimizer', None), 'param_groups', ()):
        # Without the schedule's warm-up the full rate could blow the weights up.
        group['lr'] = 0.0
    result = Measured()
    batches = _Batches(loader)
    watch = Stopwatch(device)
    # The first is slow in its own ways, and shows the shapes and what is kept for the backward.
    with _watched_shapes(model, result.shapes), _counted_saves(model) as saved:
        logs = model.train_step(next(batches), optimiser)
    result.losses = {name: float(torch.as_tensor(v).detach()) for name, v in logs.items()}
    result.saved = sum(saved.values())
    teachers = getattr(model, 'teachers', {}).values()
    while any(getattr(teacher, 'comparing', False) for teacher in teachers):
        # Beside a cache, the live teacher runs in the first steps only.
        model.train_step(next(batches), optimiser)
    del batches.times[:]
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    whole: List[float] = []
    apart: List[Dict[str, float]] = []
    # On a GPU, waiting for each part keeps them from overlapping: whole steps go without.
    for instrumented in [False, True] if device.type == 'cuda' else [True]:
        for _ in range(steps):
            batch = next(batches)
            tools = _instrumented(model, optimiser, watch) if instrumented else ExitStack()
            with tools, watch.measure('step'):
                model.train_step(batch, optimiser)
            spent = watch.take()
            if instrumented:
                apart.append(spent)
            if instrumented == (device.type != 'cuda'):
                whole.append(spent['step'])
    # The parts of one step, so that they add up to it.
    middle = sorted(apart, key=lambda spent: spent['step'])[(len(apart) - 1) // 2]
    result.parts, result.measured_apart = _parts(middle), middle['step']
    result.step, result.batch = median_low(whole), median_low(batches.times)
    result.peak = _peak(device)
    result.optimiser = state_bytes(optimiser.state_dict())
    return result


class _Batches:
    """Batches without end, and how long each took to load."""

    def __init__(self, loader: Any):
        self.times: List[float] = []
        self._loader = loader
        self._iterator = iter(loader)

    def __next__(self) -> Any:
        start = time.perf_counter()
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._iterator = iter(self._loader)
            batch = next(self._iterator)
        self.times.append(time.perf_counter() - start)
        return batch


def _distils(model: nn.Module) -> bool:
    return isinstance(getattr(model, '_modules', {}).get('student'), nn.Module)


@contextmanager
def _instrumented(model: nn.Module, optimiser: Any, watch: Stopwatch) -> Iterator[None]:
    spots: List[Tuple[Any, str, str]] = [(optimiser, 'update_params', 'update')]
    if isinstance(getattr(model, 'data_preprocessor', None), nn.Module):
        spots.append((model.data_preprocessor, 'forward', 'preprocess'))
    if _distils(model):
        spots += [(model, 'forward', 'forward'), (model.student, 'forward', 'student')]
        for teacher in teachers_of(model).values():
            spots += [(teacher, name, 'teacher') for name in ('launch', 'forward')]
    else:
        spots.append((model, 'forward', 'student'))
    with ExitStack() as undo:
        for spot in spots:
            undo.callback(watch.around(*spot))
        yield


def _parts(spent: Dict[str, float]) -> Dict[str, float]:
    parts = {name: spent[name] for name in _PARTS if name in spent}
    if 'forward' in spent:
        parts['kd'] = spent['forward'] - spent.get('student', 0.0) - spent.get('teacher', 0.0)
    parts['other'] = spent['step'] - sum(parts.values())
    return {name: max(seconds, 0.0) for name, seconds in parts.items()}


@contextmanager
def _counted_saves(model: nn.Module) -> Iterator[Dict[int, int]]:
    """Storage to bytes of what autograd keeps, the model's own tensors left out."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: Dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


@contextmanager
def _watched_shapes(model: nn.Module, shapes: Dict[str, Any]) -> Iterator[None]:
    """Notes what taps and teachers give: path, or 'teacher.feature', to (shape, type)."""

    def note(name: str, tensor: Tensor) -> None:
        shapes[name] = (tuple(tensor.shape), str(tensor.dtype).split('.')[-1])

    with ExitStack() as undo:
        if _distils(model) and hasattr(model, 'report'):
            for pair in model.report()['pairs']:
                for tap, run in taps_of(model.student, pair):
                    hook = _note_run(tap, run, note)
                    undo.callback(tap.module(model.student).register_forward_hook(hook).remove)
            for name, teacher in teachers_of(model).items():

                def launch(*args, original=teacher.launch, name=name, **kwargs):
                    pending = original(*args, **kwargs)
                    for feature, value in pending.wait().items():
                        note(f'{name}.{feature}', value)
                    return pending

                teacher.__dict__['launch'] = launch
                undo.callback(teacher.__dict__.pop, 'launch', None)
        yield


def _note_run(tap: Tap, run: Optional[int], note: Callable[[str, Tensor], None]) -> Callable:
    """A hook that notes what a tap sees, of one run of its module if it says which."""
    calls = count()

    def hook(module, args, output):
        if run in (None, next(calls)):
            note(tap.path if run is None else f'{tap.path}@{run}', tap.select(output))

    return hook


def _peak(device: torch.device) -> int:
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    # Kilobytes on Linux, bytes on a Mac.
    factor = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor


def _tell(case: Case, section: Section) -> None:
    found, loader_cfg = case.measured, case.cfg['train_dataloader']
    workers = int(loader_cfg.get('num_workers', 0))
    busy = min(workers, cores()) or 1
    wait = max(found.batch / busy - (found.step if workers else 0.0), 0.0)
    found.wait, apart = wait, found.measured_apart
    rows = [
        (title, duration(found.parts[name]), f'{100 * found.parts[name] / apart:.0f} %')
        for name, title in _PARTS.items()
        if found.parts.get(name, 0.0) > _SMALL * apart
    ]
    rows.append(('step, all of it', duration(found.step), ''))
    section.fact(
        'batch', f'{count_of(case.batch_size, "sample")}, median of {count_of(case.steps, "step")}'
    )
    section.table(('part', 'time', 'share'), rows)
    hidden = f'{duration(wait)} of it waited for' if wait > 0 else 'hidden behind the step'
    section.fact(
        'data',
        f'{duration(found.batch)} a batch in one process; with num_workers={workers} {hidden}',
    )
    if case.cfg.get('compile'):
        section.note('Timed without torch.compile, which the config asks for.')
    told = ', '.join(f'{name} {value:.4g}' for name, value in found.losses.items())
    section.fact('losses', told or 'none')
    section.data.update(
        step=found.step,
        batch=found.batch,
        wait=wait,
        parts=dict(found.parts),
        losses=dict(found.losses),
    )
    broken = [name for name, value in found.losses.items() if not math.isfinite(value)]
    if broken:
        section.stop(
            f'Not finite in the first step: {", ".join(broken)}.',
            'Look at the precision, the initial weights and the pictures of the samples.',
        )
    if wait > _LONG_WAIT * found.step:
        section.warn(
            f'Training will wait {duration(wait)} for data in each step of {duration(found.step)}.',
            f'Raise train_dataloader.num_workers ({workers} now; {cores()} cores here), or store '
            'smaller images.',
        )
