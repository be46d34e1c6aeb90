"""Distils features."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from mmengine.logging import print_log
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..dry_run import DryInput
from ..schedules import Progress
from ..taps import Tap, TapRecorder
from ..teachers import Teacher
from . import nan_guard
from .channels import find_channels
from .guarded import GuardedDistiller
from .pair import FeaturePair, PairConfig, build, expand
from .report import describe, report_pair, report_run, tell_grids
from .step import Step, step_samples
from .weigh import calibrate, weigh_teachers


@MODELS.register_module()
class FeatureDistiller(GuardedDistiller):
    """Makes features within the student resemble teachers', beside the student's own task.

    The loss is ``(1 - alpha) * task + alpha * sum(weight_i * kd_i)``. Logged are the terms as they
    are summed (the student's own names, ``loss_kd_<name>``) and as they are measured
    (``task_raw``, ``kd_<name>``).

    In the first steps of every training it is checked that each loss's gradient reaches the
    student, that no teacher changes or differs between processes, and that what will be saved is
    the student; see :mod:`mmkd.distill.distillers.startup`.

    Args:
        student: See :class:`Distiller`.
        teacher: See :class:`Distiller`.
        distill: One dict per pair of features:

            - ``student``: the dotted path of a module of the student; see
              :class:`mmkd.distill.taps.Tap`. A list stands for as many entries.
            - ``teacher``: the name of a feature of the teacher; with ``teachers``, the teacher's
              before it: 'dino.last'.
            - ``name``: for logs and checkpoints; made from the path by default.
            - ``transform``: its config; FeatureTransform by default, None for none. Channels are
              found, not typed. Losses between relations have none by default.
            - ``loss``: its config; CosineDistillLoss by default.
            - ``weight``: its share among the pairs, 1 by default, or a schedule (see
              :func:`mmkd.distill.schedules.parse_schedule`). While it is 0 the teacher does not
              run for it; with a plain 0 the entry is left out.
            - ``direction``: 'student_to_teacher', or 'teacher_to_student', whose target is
              trained along and can collapse.
            - ``call``: which run of the module is meant if it runs several times in one step.
            - ``weighting``: config of a module that weighs places, such as ForegroundWeight.
            - ``standardize``: True, or options of EMAStandardize: the teacher's channels get mean
              0 and variance 1.
        alpha: See :class:`Distiller`.
        teachers: See :class:`Distiller`.
        calibration: Config of a module such as GradientRatio, which scales the distillation's
            gradient in proportion to the task's.
        balance: Config of a module such as TeacherDrop, which weighs teachers sample by sample.
        mask: Whether padding is left out of the losses; see
            :func:`mmkd.distill.images.valid_quads`.
        nan_policy: 'stop', 'skip' or 'off'; see :class:`.nan_guard.NaNGuard`.
        image_key: Which images the teacher sees if the student reads a dict of them.
        dry_input: Shapes for the dry run that finds the channels, if the student takes neither
            (N, 3, H, W) nor {'img': (N, T, 3, H, W)}; see :func:`mmkd.distill.dry_run.probe`.
        on_other_teacher: See :class:`Distiller`.
        data_preprocessor: See :class:`Distiller`.
        init_cfg: See :class:`Distiller`.

    Raises:
        MMKDError: An entry of ``distill`` names what is not there.
    """

    def __init__(
        self,
        student: Union[dict, nn.Module],
        teacher: Union[None, dict, Teacher] = None,
        distill: Sequence[dict] = (),
        alpha: Union[float, dict, list] = 0.5,
        teachers: Optional[Dict[str, Union[dict, Teacher]]] = None,
        calibration: Optional[dict] = None,
        balance: Optional[dict] = None,
        mask: bool = True,
        nan_policy: str = 'stop',
        image_key: str = 'img',
        dry_input: DryInput = None,
        on_other_teacher: str = 'refuse',
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(
            student,
            teacher,
            alpha,
            data_preprocessor,
            init_cfg,
            teachers,
            on_other_teacher,
            nan_policy=nan_policy,
        )
        self.mask = mask
        self.image_key = image_key
        configs = [PairConfig(self.student, self._pool, entry) for entry in expand(distill)]
        _check_unique([config.name for config in configs])
        used = [config for config in configs if config.used]
        for name in self._pool:
            # Also of pairs that are switched off: a wrong name is wrong at any weight.
            self._pool[name].bind(self.student)
            self._pool[name].check([c.feature for c in configs if c.teacher == name])
            self._pool[name].request([c.feature for c in used if c.teacher == name])
        taps = {config.tap.path: config.tap for config in configs}
        found = find_channels(self.student, list(taps.values()), configs, dry_input)
        parts: Dict[str, nn.Module] = {
            config.name: FeaturePair(
                config,
                found.get(config.tap.path),
                self._pool[config.teacher].channels[config.feature],
            )
            for config in configs
        }
        reference = next((p for p in self.student.parameters() if p.is_floating_point()), None)
        if reference is not None:
            # A student that was given as a module may be in half precision, or on a GPU.
            for pair in parts.values():
                pair.to(reference.device, reference.dtype)
        self._pairs = [config.name for config in used]
        self._teachers_used = {config.teacher for config in used}
        for name, pair in parts.items():
            # DDP waits for the gradient of every trained parameter.
            if not self.active or name not in self._pairs:
                pair.requires_grad_(False)
        if calibration is not None:
            parts['calibration'] = build(calibration)
        if balance is not None:
            parts['balance'] = build(balance)
        self.distill = ModuleDict(parts)
        self._calibrated, self._balanced = calibration is not None, balance is not None
        self._shared = self._shared_parameters() if self._calibrated else ''
        self._taps = {config.tap.path: taps[config.tap.path] for config in used}

    @property
    def needed(self) -> List[str]:
        return [name for name in super().needed if name in self._teachers_used]

    def _over(self, name: str, progress: Progress) -> bool:
        pairs = [self.distill[pair] for pair in self._pairs]
        schedules = [pair.schedule for pair in pairs if pair.teacher == name]
        return super()._over(name, progress) or all(s.finished(progress) for s in schedules)

    def loss(self, inputs: Any, data_samples: Optional[list] = None, **kwargs) -> Dict[str, Tensor]:
        """Args:
            inputs: What the student reads, as its data preprocessor makes it.
            data_samples: Its samples.

        Returns:
            The student's loss dict, its losses times ``1 - alpha``; ``loss_kd_<name>``, times
            ``alpha * weight``; and unweighted ``task_raw`` and ``kd_<name>``.
        """
        self.guard.read()
        self.begin_step()
        weights = self._weights()
        undo = nan_guard.snapshot(self) if self.guard.skips else []
        if not any(weights.values()):
            out = self.weigh_task(self.student(inputs, data_samples, mode='loss', **kwargs))
            step = None
        else:
            self._look_at_teachers()
            out, step = self._distil(inputs, data_samples, weights, kwargs)
        self._rest(out, weights)
        return self._guarded(
            out, None if step is None else step.images, step_samples(data_samples), undo
        )

    def _weights(self) -> Dict[str, float]:
        """Each used pair's weight in this step; all 0 while alpha is."""
        alpha = self.alpha
        return {
            name: self.distill[name].weight_at(self._progress) if alpha > 0 else 0.0
            for name in self._pairs
        }

    def _distil(
        self, inputs: Any, data_samples: Optional[list], weights: Dict[str, float], kwargs: dict
    ) -> Tuple[Dict[str, Any], Step]:
        # Before the student: what teachers need is freed when the student's graph grows.
        step = Step(
            inputs,
            step_samples(data_samples),
            self.student.data_preprocessor,
            self.image_key,
            self.mask,
        )
        pairs = [self.distill[name] for name in self._pairs if weights[name] > 0]
        pending = {}
        for name in dict.fromkeys(pair.teacher for pair in pairs):
            pending[name] = self._pool[name].launch(step.images, data_samples)
        recorder = TapRecorder([self._taps[pair.path] for pair in pairs])
        with recorder.record(self.student):
            task = self.student(inputs, data_samples, mode='loss', **kwargs)
        out = self.weigh_task(task)
        features = {name: each.wait() for name, each in pending.items()}
        values: Dict[str, Tensor] = {}
        seen: Dict[str, Tensor] = {}
        for pair in pairs:
            seen[pair.name] = recorder.get(pair.path, pair.call)
            target = features[pair.teacher][pair.feature]
            if self._steps == 0:
                tell_grids(pair, step.images, seen[pair.name], target)
            run = '' if pair.call is None else f'@{pair.call}'
            self.guard.watch(f'{pair.path}{run} of the student', seen[pair.name])
            self.guard.watch(f'{pair.feature} of {pair.teacher}', target)
            extent = self._pool[pair.teacher].extent(step.size)
            values[pair.name] = pair(
                seen[pair.name], target, step, extent, 'sample' if self._balanced else None
            )
        values = self._weigh_teachers(values, weights)
        self._add(out, values, weights)
        if self._arrival is not None:
            self._look_at_gradients(out, seen)
        if self._calibrated:
            self._calibrate(out, values)
        self._steps += 1
        return out, step

    def _add(
        self, out: Dict[str, Any], values: Dict[str, Tensor], weights: Dict[str, float]
    ) -> None:
        for name, value in values.items():
            for key in (f'loss_kd_{name}', f'kd_{name}'):
                if key in out:
                    raise MMKDError(
                        f'The student logs {key!r} itself; give the distill entry another name=.'
                    )
            # With reduction='sample' there is one per image.
            value = value.mean() if value.dim() else value
            out[f'loss_kd_{name}'] = value * (self.alpha * weights[name])
            out[f'kd_{name}'] = value.detach()

    def _weigh_teachers(
        self, values: Dict[str, Tensor], weights: Dict[str, float]
    ) -> Dict[str, Tensor]:
        """Scalars out of each pair's value per sample, if teachers are balanced."""
        if not self._balanced:
            return values
        teacher_of = {name: self.distill[name].teacher for name in values}
        return weigh_teachers(self.distill['balance'], values, weights, teacher_of)

    def _calibrate(self, out: Dict[str, Any], values: Dict[str, Tensor]) -> None:
        # At full weight on both sides: a warm-up would be calibrated away.
        full, now = self._alpha.peak, self.alpha
        calibrate(
            self.distill['calibration'],
            self._progress.iter,
            out,
            {n: v.mean() * (full * self.distill[n].weight) for n, v in values.items()},
            (1 - full) / (1 - now) if now < 1 else 1.0,
            self.student.get_submodule(self._shared),
        )

    def _shared_parameters(self) -> str:
        path = getattr(self.distill['calibration'], 'shared', None)
        return Tap(self.student, path).module_path if path else ''

    def _rest(self, out: Dict[str, Any], weights: Dict[str, float]) -> None:
        """Gives the trained parts of entries that rest in this step the gradient 0, for DDP."""
        for name, weight in weights.items():
            pair = self.distill[name]
            if weight == 0 and any(p.requires_grad for p in pair.parameters()):
                out[f'loss_kd_{name}'] = nan_guard.nothing(pair)

    def _look_at_gradients(self, out: Dict[str, Any], seen: Dict[str, Tensor]) -> None:
        for name, tapped in seen.items():
            path = self.distill[name].module_path
            self._look_at_gradient(name, out[f'loss_kd_{name}'], self.student, path, tapped)
        if all(self._arrival.done(name) for name in self._pairs):
            self._arrival = None

    def on_training_start(self) -> None:
        for line in describe(self.report()):
            print_log(line, logger='current')

    def report(self) -> Dict[str, Any]:
        """What is distilled into what, for logs and reports.

        Returns:
            ``student``, ``alpha`` (its largest), ``teachers`` (name to ``describe``, ``random``
            and ``fingerprint``, None before the weights are loaded) and a list of ``pairs``.
        """
        return report_run(
            self,
            self._alpha.peak,
            [
                report_pair(self.distill[n], self._pool[self.distill[n].teacher])
                for n in self._pairs
            ],
        )


def _check_unique(names: List[str]) -> None:
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise MMKDError(f'{count} entries of distill are named {name!r}; give each its own name=.')
