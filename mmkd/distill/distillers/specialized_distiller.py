"""Distils a general teacher, and specialists of what is hard, sample by sample."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Union

from mmengine.logging import print_log
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..dry_run import DryInput, TapInfo, probe
from ..schedules import Progress, parse_schedule
from ..taps import Tap, split_run
from ..teachers import Teacher
from . import nan_guard
from .guarded import GuardedDistiller
from .lesson import check_respondent, check_scale
from .mutual import PEER, Mutual, parse_mutual
from .pair import build
from .report import report_run
from .routing import GENERAL, Router, Specialist, parse_specialists
from .specialized_report import describe_transfers, report_transfer
from .specialized_step import Now, Pupil, SpecializedStep
from .step import step_samples
from .transfer import ONE, Transfer, add_parts, check_taps, parse_transfers

DIVISORS = ('active', 'batch')


@MODELS.register_module()
class SpecializedTeacherDistiller(GuardedDistiller):
    """One student, a general teacher, and specialists for hard attributes of a video.

    After 'A framework of specialized knowledge distillation for Siamese tracker on challenging
    attributes' (Li et al., Machine Vision and Applications 35:94, 2024), of which only the
    abstract is known here: a general teacher gives basic knowledge, each specialist what it knows
    of its attribute. The terms are those of its predecessor DST (Shen et al., arXiv 1907.10586).
    Every choice that the abstract leaves open is an option.

    The loss is ``(1 - alpha) * task + alpha * (general + specialists)`` with::

        general     = general_weight    * sum_t w_t * sum_i g_i * l_t(i, general) / N
        specialists = specialist_weight * sum_k w_k * sum_t w_t * sum_i c_ik * l_t(i, k) / D

    where t are transfers, i samples, k specialists, ``c_ik`` is 0 unless the attributes of sample
    i are those of specialist k, and else 1 or what ``trust`` says. A specialist runs on its samples
    only, and not at all if there is none. All teachers see the crops that the student sees, and
    the student's targets, sampled once, judge them all.

    Args:
        student: See :class:`.distiller.Distiller`.
        general: The general teacher, or its config: :class:`mmkd.BatchTeacher` reads a tracker's
            whole input; a teacher of images, such as DINOv2Teacher, gets ``image_key``'s.
        specialists: Name to teacher, or ``dict(teacher=..., attributes=('POC', 'FOC'), weight=1,
            response=...)``. The attributes are names that the samples' metainfo has in
            ``attributes`` or ``attribute_groups``, by default the specialist's own name; 'all'
            teaches every sample. None: the general teacher teaches alone.
        transfers: What goes over, one dict each:

            - ``student``: a tap such as 'head[0]', 'neck[0]@1' (the module's second run in a
              step), several by name (``dict(template=..., search=...)``) for losses that compare
              several, or nothing for losses that read the whole answer.
            - ``teacher``: the teacher's, as the student's by default.
            - ``loss``: its config; CosineDistillLoss by default. It must have a value per sample.
            - ``transform``: FeatureTransform by default where widths differ, else none.
            - ``align``: how the teacher's map gets onto the student's grid: 'centre', cell
              centre by cell centre around the same middle, both with one stride; 'resize', for
              grids that cover the same picture; 'none'.
            - ``weight``: a number or a schedule.
            - ``to``: 'all', or what only the 'general' teacher or only 'specialists' give.
            - ``name``: for logs and checkpoints.
        alpha: See :class:`.distiller.Distiller`.
        general_weight: A number or a schedule; with ``dict(stop_epoch=10)`` and
            ``specialist_weight=dict(begin_epoch=10)`` the specialists follow the general teacher.
        specialist_weight: A number or a schedule.
        trust: Config of a module that says how much each teacher counts for each sample, such as
            GateTrust or SoftmaxTrust, from their task losses there.
        divide_by: D: 'active', the sum of all ``c_ik``, at least 1, over all processes; or
            'batch', N, with which rare attributes teach less.
        mutual: A second student; see :class:`.mutual.Mutual`.
        image_key: Which images teachers of images see, and padding and boxes belong to.
        mask: Whether padding is left out of losses between maps.
        response: The general teacher's taps of its answer, by name, if they are not called as the
            student's ``response_taps``.
        nan_policy: See :class:`.nan_guard.NaNGuard`.
        dry_input: See :class:`.feature_distiller.FeatureDistiller`.
        on_other_teacher: See :class:`.distiller.Distiller`.
        data_preprocessor: See :class:`.distiller.Distiller`.
        init_cfg: See :class:`.distiller.Distiller`.

    Raises:
        MMKDError: Something is named that is not there.
    """

    def __init__(
        self,
        student: Union[dict, nn.Module],
        general: Union[dict, Teacher],
        specialists: Optional[Dict[str, Any]] = None,
        transfers: Sequence[dict] = (),
        alpha: Union[float, dict, list] = 0.5,
        general_weight: Union[float, dict] = 1.0,
        specialist_weight: Union[float, dict] = 1.0,
        trust: Optional[dict] = None,
        divide_by: str = 'active',
        mutual: Optional[dict] = None,
        image_key: str = 'img',
        mask: bool = True,
        response: Optional[Dict[str, str]] = None,
        nan_policy: str = 'stop',
        dry_input: DryInput = None,
        on_other_teacher: str = 'refuse',
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ):
        lines = parse_specialists(specialists)
        super().__init__(
            student,
            None,
            alpha,
            data_preprocessor,
            init_cfg,
            {GENERAL: general, **{name: line.teacher for name, line in lines.items()}},
            on_other_teacher,
            nan_policy=nan_policy,
        )
        self.image_key, self.mask = image_key, mask
        if divide_by not in DIVISORS:
            raise MMKDError(f'There is no divide_by={divide_by!r}; choose one of {DIVISORS}.')
        self.divide_by = divide_by
        # The pool has the teachers; a copy of this would copy one that was given as a module.
        self._specialists: Dict[str, Specialist] = {
            name: line._replace(teacher=None) for name, line in lines.items()
        }
        self._router = Router(lines)
        self._schedules = {
            GENERAL: parse_schedule(general_weight, 'general_weight'),
            '': parse_schedule(specialist_weight, 'specialist_weight'),
        }
        self._entries = parse_transfers(transfers)
        self.mutual: Optional[Mutual] = parse_mutual(mutual)
        parts: Dict[str, nn.Module] = {}
        if trust is not None:
            parts['trust'] = build(trust)
        if self.mutual is not None:
            parts[PEER] = self.mutual.build(data_preprocessor)
        self.judged = trust is not None or any('response' in e.needs for e in self._entries)
        self.judged = self.judged or self.mutual is not None
        if self.judged:
            check_respondent(self.student, 'A transfer, trust= or mutual=')
        self._answers = {
            name: response if name == GENERAL else lines[name].response for name in self._pool
        }
        self._dry_input = dry_input
        self._infos: Dict[str, TapInfo] = {}
        self._ask_teachers()
        for pupil, model in [('', self.student), (f'{PEER}_', parts.get(PEER))]:
            if model is not None:
                add_parts(parts, self._build_transfers(pupil, model))
        if self.mutual is not None:
            add_parts(parts, self._build_sharing())
        reference = next((p for p in self.student.parameters() if p.is_floating_point()), None)
        if reference is not None:
            for part in parts.values():
                part.to(reference.device, reference.dtype)
        self.distill = ModuleDict(parts)
        if not self.active:
            if self._alpha.peak > 0:
                raise MMKDError(
                    f'alpha={self._alpha} gives teachers a share of the loss, but no teacher gives '
                    'anything: see general_weight, specialist_weight, and weight= and to= in '
                    'transfers. The plain student is alpha=0.'
                )
            # Nothing of it will be trained.
            self.distill.requires_grad_(PEER in parts)

    # What there is.

    def config_key(self, teacher: str) -> str:
        return GENERAL if teacher == GENERAL else f'specialists.{teacher}.teacher'

    def _ask_teachers(self) -> None:
        for name in self._pool:
            teacher = self._pool[name]
            teacher.bind(self.student)
            features = [
                path if run is None else f'{path}@{run}'
                for entry in self._entries
                if entry.for_teacher(name == GENERAL)
                for path, run in entry.teacher.values()
            ]
            features += self.answer_taps(name).values()
            if self.judged:
                check_scale(teacher, name)
            teacher.check(features)
            teacher.request(features)

    def answer_taps(self, teacher: str) -> Dict[str, str]:
        """Name of each part of a teacher's answer to its feature; none if nobody asks."""
        if not self.judged:
            return {}
        return self._answers[teacher] or dict(self.student.response_taps)

    def _build_transfers(self, prefix: str, model: nn.Module) -> List[Transfer]:
        taps: Dict[str, Tap] = {}
        for entry in self._entries:
            taps.update(check_taps(entry, model, 'the student' if not prefix else 'the peer'))
        found, why = probe(model, list(taps.values()), self._dry_input) if taps else ({}, None)
        self._infos.update({prefix + path: info for path, info in found.items()})
        built: List[Transfer] = []
        for entry in self._entries:
            for name in self._pool:
                if not entry.for_teacher(name == GENERAL):
                    continue
                ours = theirs = None
                if list(entry.student) == [ONE]:
                    info = found.get(entry.student[ONE][0])
                    if info is None and 'response' not in entry.needs:
                        raise _not_found(entry.name, entry.student[ONE][0], why)
                    ours = None if info is None else info.channels
                    path, run = entry.teacher[ONE]
                    feature = path if run is None else f'{path}@{run}'
                    theirs = self._pool[name].channels[feature]
                full = f'{prefix}{entry.name}_{name}'
                built.append(Transfer(entry, full, name, ours, theirs, prefix))
        return built

    def _build_sharing(self) -> List[Transfer]:
        return [
            Transfer(entry, f'{prefix}share_{entry.name}', PEER, None, None, prefix)
            for entry in self.mutual.choose(self._entries)
            for prefix in ('', f'{PEER}_')
        ]

    @property
    def needed(self) -> List[str]:
        wanted = []
        for name in super().needed:
            used = any(entry.for_teacher(name == GENERAL) for entry in self._entries)
            judge = name == GENERAL and self._compares_with_general
            if (used or judge) and (judge or self._peak(name) > 0):
                wanted.append(name)
        return wanted

    @property
    def _compares_with_general(self) -> bool:
        specialists = any(self._peak(name) > 0 for name in self._specialists)
        return ('trust' in self.distill and specialists) or self.mutual is not None

    def _peak(self, name: str) -> float:
        if name == GENERAL:
            return self._schedules[GENERAL].peak
        return self._schedules[''].peak * self._specialists[name].weight.peak

    def _over(self, name: str, progress: Progress) -> bool:
        if super()._over(name, progress):
            return True
        if name != GENERAL or not self._has_taught(name, progress):
            return self._has_taught(name, progress)
        if self.mutual is not None and not self.mutual.schedule.finished(progress):
            return False
        # Specialists are measured by it, whatever it gives itself.
        judged = self._specialists if 'trust' in self.distill else ()
        return all(self._has_taught(each, progress) for each in judged)

    def _has_taught(self, name: str, progress: Progress) -> bool:
        """Whether nothing that a teacher gives will count again."""
        entries = [e for e in self._entries if e.for_teacher(name == GENERAL)]
        weights = [self._schedules[GENERAL if name == GENERAL else '']]
        if name != GENERAL:
            weights.append(self._specialists[name].weight)
        return any(weight.finished(progress) for weight in weights) or all(
            entry.schedule.finished(progress) for entry in entries
        )

    def _now(self) -> Now:
        now, rests = self._progress, self.alpha == 0
        common = self._schedules[''](now)
        teachers = {n: common * each.weight(now) for n, each in self._specialists.items()}
        teachers[GENERAL] = self._schedules[GENERAL](now)
        return Now(
            {name: 0.0 if rests else teachers[name] for name in self._pool},
            {entry.name: entry.schedule(now) for entry in self._entries},
        )

    def pupils(self) -> List[Pupil]:
        """The student and, with ``mutual``, the second one."""
        transfers = [part for part in self.distill.values() if isinstance(part, Transfer)]
        models = [('', self.student)]
        if PEER in self.distill:
            models.append((f'{PEER}_', self.distill[PEER]))
        return [
            Pupil(
                prefix,
                model,
                [p for p in transfers if p.pupil == prefix and p.teacher != PEER],
                [part for part in transfers if part.pupil == prefix and part.teacher == PEER],
            )
            for prefix, model in models
        ]

    # A step.

    def loss(self, inputs: Any, data_samples: Optional[list] = None, **kwargs) -> Dict[str, Tensor]:
        """Args:
            inputs: What the student reads, as its data preprocessor makes it.
            data_samples: Its samples, with the attributes of their videos.

        Returns:
            The student's loss dict, its losses times ``1 - alpha``;
            ``loss_kd_<transfer>_<teacher>`` as they are summed; unweighted ``task_raw`` and
            ``kd_<transfer>_<teacher>``; ``routed_<specialist>``, its share of the samples, and
            ``trust_<specialist>``, how much it counts for them in the mean.
        """
        self.guard.read()
        self.begin_step()
        now = self._now()
        undo = nan_guard.snapshot(self) if self.guard.skips else []
        samples, images = step_samples(data_samples), None
        if PEER not in self.distill and not any(
            now.of(part) for pupil in self.pupils() for part in pupil.transfers
        ):
            out = self.weigh_task(self.student(inputs, data_samples, mode='loss', **kwargs))
            self.rest(out, [])
        else:
            self._look_at_teachers()
            step = SpecializedStep(self, inputs, samples, now)
            out, images = step.run(kwargs), step.images
            self._steps += 1
        return self._guarded(out, images, samples, undo)

    def routes(self, samples: Optional[Sequence], count: int, now: Now) -> Dict[str, List[int]]:
        """The teachers that run in a step, and the numbers of their samples."""
        found = {}
        active = [name for name in self._specialists if now.teachers[name] > 0]
        if active:
            routes = self._router(samples, count)
            found = {name: routes[name] for name in active if routes[name]}
        judge = self.mutual is not None or ('trust' in self.distill and bool(found))
        if now.teachers[GENERAL] > 0 or (judge and self.alpha > 0):
            found = {GENERAL: list(range(count)), **found}
        return {name: each for name, each in found.items() if self._pool[name].loaded}

    def rest(self, out: Dict[str, Any], done: Sequence[str]) -> None:
        """Logs what has nothing to say in a step as 0, with a gradient of 0 for DDP."""
        for name, part in self.distill.items():
            if isinstance(part, Transfer) and name not in done:
                trained = any(p.requires_grad for p in part.parameters())
                zero = out['task_raw'].new_zeros(())
                out[f'loss_kd_{name}'] = nan_guard.nothing(part) if trained else zero
                out[f'kd_{name}'] = zero

    def check_arrival(self, part: Transfer, model: nn.Module, value: Tensor, seen: Any) -> None:
        """Sees, in the first steps, that a transfer's gradient reaches its pupil."""
        if self._arrival is None or not len(value):
            return
        taps = part.student_taps or {
            name: split_run(path) for name, path in model.response_taps.items()
        }
        path, run = next(iter(taps.values()))
        self._look_at_gradient(
            part.name,
            value.mean(),
            model,
            Tap(model, path).module_path,
            seen.get(path, run),
            part.gated,
        )
        parts = [name for name, each in self.distill.items() if isinstance(each, Transfer)]
        if all(self._arrival.done(name) for name in parts):
            self._arrival = None

    def on_training_start(self) -> None:
        for line in describe_transfers(self.report()):
            print_log(line, logger='current')

    def report(self) -> Dict[str, Any]:
        """As that of :class:`.feature_distiller.FeatureDistiller`; a pair is a transfer."""
        weights = {entry.name: entry.schedule.peak for entry in self._entries}
        pairs = []
        for pupil in self.pupils():
            for part in pupil.transfers:
                only = part.student_taps.get(ONE)
                info = None if only is None else self._infos.get(pupil.prefix + only[0])
                weight = weights[part.entry] * self._peak(part.teacher)
                pairs.append(report_transfer(part, self._pool[part.teacher], info, weight))
        return report_run(self, self._alpha.peak, pairs)


def _not_found(name: str, path: str, why: Optional[Exception]) -> MMKDError:
    reason = 'was not reached' if why is None else f'failed ({type(why).__name__}: {why})'
    return MMKDError(
        f'{name}: the channels of {path!r} could not be found: a dry run of the student, '
        f"mode='tensor', {reason}. Say what it reads, as in dry_input=dict(img=(1, 1, 3, 127, "
        '127), search_img=(1, 1, 3, 255, 255)) in the distiller.'
    )
