"""One training step with several teachers, each with samples of its own."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError

from ..response import Response
from ..taps import Tap, TapRecorder, split_run
from .lesson import Answer, Lesson, Shares, answer_of, compare, divisor, pick, share, total
from .mutual import PEER, copy_of
from .pictures import Pictures, reads_all
from .routing import GENERAL
from .step import Step
from .transfer import Place, Transfer


class Now(NamedTuple):
    """The weights of one step."""

    teachers: Dict[str, float]
    entries: Dict[str, float]

    def of(self, transfer: Transfer) -> float:
        """A transfer's, before alpha."""
        return self.teachers.get(transfer.teacher, 0.0) * self.entries[transfer.entry]


class Pupil(NamedTuple):
    """A student in a step, and what it is taught by."""

    prefix: str
    model: nn.Module
    transfers: List[Transfer]
    shared: List[Transfer]
    """What it is told by the other student."""


class _Seen(NamedTuple):
    """What a pupil has done in a step."""

    pupil: Pupil
    recorder: TapRecorder
    answer: Optional[Answer]
    judged: Dict[str, Response]


class SpecializedStep:
    """Runs teachers and pupils on a batch and adds up what they owe.

    Args:
        distiller: The distiller.
        inputs: What the student reads.
        samples: Its samples.
        now: The step's weights.

    Attributes:
        images: (N, 3, H, W): what the NaN guard looks at.
    """

    def __init__(self, distiller: Any, inputs: Any, samples: Optional[Sequence], now: Now):
        self.distiller, self.inputs, self.samples, self.now = distiller, inputs, samples, now
        preprocessor = distiller.student.data_preprocessor
        self.pictures = Pictures(inputs, preprocessor)
        self.images = self.pictures.images(distiller.image_key)
        self._step = Step(
            inputs, samples, preprocessor, distiller.image_key, distiller.mask, self.images
        )
        count = self.pictures.count
        self.routes: Dict[str, List[int]] = distiller.routes(samples, count, now)
        self.rows = {
            name: _rows(numbers, count, self.images.device) for name, numbers in self.routes.items()
        }
        self._steps: Dict[str, Step] = {}

    def run(self, kwargs: dict) -> Dict[str, Any]:
        """The step's loss dict."""
        distiller = self.distiller
        # Before the students: what teachers need is freed when the students' graphs grow.
        pending = {name: self._launch(name) for name in self.routes}
        out: Dict[str, Any] = {}
        ran = [self._run(pupil, out, kwargs) for pupil in distiller.pupils()]
        lessons = {
            name: Lesson(name, self.rows[name], each.wait(), distiller.answer_taps(name))
            for name, each in pending.items()
        }
        seen: List[_Seen] = []
        done: List[str] = []
        for pupil, recorder, answer in ran:
            judged = {}
            if answer is not None:
                judged = {n: compare(pupil.model, answer, each) for n, each in lessons.items()}
            seen.append(_Seen(pupil, recorder, answer, judged))
            done += self._teach(out, seen[-1], lessons)
        if distiller.mutual is not None:
            done += self._exchange(out, seen)
        distiller.rest(out, done)
        return out

    # Who runs.

    def _launch(self, name: str) -> Any:
        teacher = self.distiller.teachers[name]
        if reads_all(teacher):
            return teacher.read(self.pictures.take(self.rows[name]), self._samples_of(name))
        # Of a clip, all frames.
        return teacher.launch(self._step_of(name).images, self._samples_of(name))

    def _samples_of(self, name: str) -> Optional[List]:
        if self.samples is None:
            return None
        return [self.samples[number] for number in self.routes[name]]

    def _run(
        self, pupil: Pupil, out: Dict[str, Any], kwargs: dict
    ) -> Tuple[Pupil, TapRecorder, Optional[Answer]]:
        model, targets, given = pupil.model, None, dict(kwargs)
        parts = [*pupil.transfers, *pupil.shared]
        paths = {path for part in parts for path, _ in part.student_taps.values()}
        if self.distiller.judged:
            targets = given['targets'] = model.sample_targets(self.samples, self.images.device)
            paths |= {split_run(path)[0] for path in model.response_taps.values()}
        recorder = TapRecorder([Tap(model, path) for path in sorted(paths)])
        with recorder.record(model):
            losses = model(self.inputs, self.samples, mode='loss', **given)
        for key, value in self.distiller.weigh_task(losses).items():
            out[f'{pupil.prefix}{key}'] = value
        answer = None
        if self.distiller.judged:
            answer = answer_of(model, recorder, targets)
        return pupil, recorder, answer

    # What they owe.

    def _teach(self, out: Dict[str, Any], seen: _Seen, lessons: Dict[str, Lesson]) -> List[str]:
        shares = self._shares(lessons, seen.judged)
        if not seen.pupil.prefix:
            self._log(out, shares)
        by = divisor(shares, self.distiller.divide_by)
        done = []
        for part in seen.pupil.transfers:
            weight = self.now.of(part)
            if weight == 0 or part.teacher not in lessons:
                continue
            lesson = lessons[part.teacher]
            ours = {
                name: self._part(part.name, path, seen.recorder.get(path, run), lesson.rows)
                for name, (path, run) in part.student_taps.items()
            }
            theirs = {
                name: lesson.features[path if run is None else f'{path}@{run}']
                for name, (path, run) in part.teacher_taps.items()
            }
            self._watch(seen.pupil, part, ours, theirs)
            place = self._place(part.teacher, seen.judged.get(part.teacher))
            value = part(ours, theirs, place)
            self.distiller.check_arrival(part, seen.pupil.model, value, seen.recorder)
            if part.teacher == GENERAL:
                owed = total(value, shares.general, len(shares.general))
            else:
                column = self._names().index(part.teacher)
                owed = total(value, pick(shares.specialists[:, column], lesson.rows), by)
            self._add(out, part, owed, weight)
            done.append(part.name)
        return done

    def _part(self, name: str, path: str, maps: Tensor, rows: Optional[Tensor]) -> Tensor:
        if rows is not None and len(maps) != self.pictures.count:
            raise MMKDError(
                f'{name}: {path!r} of the student gives {len(maps)} maps for '
                f'{self.pictures.count} samples, so that those of a part of the samples cannot be '
                "told. Specialists of clips teach all samples (attributes='all') or maps with one "
                'entry per sample.'
            )
        return pick(maps, rows)

    def _watch(
        self, pupil: Pupil, part: Transfer, ours: Dict[str, Tensor], theirs: Dict[str, Tensor]
    ) -> None:
        """Shows the maps to the NaN guard, under their own names."""
        rows, count = self.rows[part.teacher], self.pictures.count
        for taps, maps in ((part.student_taps, ours), (part.teacher_taps, theirs)):
            owner = (
                part.teacher if maps is theirs else f'the {pupil.prefix or "student"}'.rstrip('_')
            )
            # The student's are watched teacher by teacher: each sees other samples.
            on = '' if maps is theirs or rows is None else f' (for {part.teacher})'
            for name, value in maps.items():
                path, run = taps[name]
                at = path if run is None else f'{path}@{run}'
                # Frames of clips are no samples.
                own = None if rows is None or len(value) != len(rows) else rows
                self.distiller.guard.watch(f'{at} of {owner}{on}', value, own, count)

    def _add(self, out: Dict[str, Any], part: Transfer, owed: Tensor, weight: float) -> None:
        for key in (f'loss_kd_{part.name}', f'kd_{part.name}'):
            if key in out:
                raise MMKDError(
                    f'The student logs {key!r} itself; give the entry of transfers another name=.'
                )
        out[f'loss_kd_{part.name}'] = owed * (self.distiller.alpha * weight)
        out[f'kd_{part.name}'] = owed.detach()

    def _names(self) -> List[str]:
        return [name for name in self.distiller.teachers if name != GENERAL]

    def _shares(self, lessons: Dict[str, Lesson], judged: Dict[str, Response]) -> Shares:
        names = self._names()
        trust = getattr(self.distiller.distill, 'trust', None)
        if not any(name in lessons for name in names):
            trust = None
        return share(
            trust,
            names,
            {name: self.routes[name] for name in names if name in lessons},
            {name: each.teacher_loss for name, each in judged.items() if name != GENERAL},
            self.rows,
            judged[GENERAL].teacher_loss if GENERAL in judged else None,
            self.pictures.count,
            self.images.device,
        )

    def _log(self, out: Dict[str, Any], shares: Shares) -> None:
        for column, name in enumerate(self._names()):
            active = shares.active[:, column].float()
            out[f'routed_{name}'] = active.mean()
            counted = shares.specialists[:, column].sum()
            out[f'trust_{name}'] = counted / active.sum().clamp(min=1)

    def _place(self, teacher: str, response: Optional[Response]) -> Place:
        step = self._step_of(teacher)
        size = tuple(map(float, step.size))
        return Place(
            mask=lambda grid: step.mask(grid, size),
            response=response,
            known={'instances': lambda: step.instances(size), 'labels': step.labels},
            # One that reads all that the student reads has maps like the student's.
            covers=teacher != PEER and not reads_all(self.distiller.teachers[teacher]),
        )

    def _step_of(self, teacher: str) -> Step:
        if self.rows.get(teacher) is None:
            return self._step
        if teacher not in self._steps:
            self._steps[teacher] = self._step.take(self.routes[teacher], self.rows[teacher])
        return self._steps[teacher]

    # What students owe each other.

    def _exchange(self, out: Dict[str, Any], seen: List[_Seen]) -> List[str]:
        mutual, done = self.distiller.mutual, []
        weights = mutual.weights(self.distiller.progress)
        sides = [(seen[0], seen[1]), (seen[1], seen[0])]
        for (mine, other), weight in zip(sides, weights):
            if weight == 0 or self.distiller.alpha == 0:
                continue
            response = _between(mine, other, mutual.detach)
            judge = mine.judged.get(GENERAL)
            gate = mutual.gate(mine.answer, None if judge is None else judge.teacher_loss)
            for part in mine.pupil.shared:
                maps = [
                    {key: each.recorder.get(*tap) for key, tap in part.student_taps.items()}
                    for each in (mine, other)
                ]
                place = self._place(PEER, response)
                value = part(maps[0], copy_of(maps[1], mutual.detach), place)
                self.distiller.check_arrival(part, mine.pupil.model, value, mine.recorder)
                owed = total(value, gate, len(gate))
                self._add(out, part, owed, weight)
                done.append(part.name)
        return done


def _between(mine: _Seen, other: _Seen, detach: bool) -> Response:
    """A student's answer beside the other student's."""
    lesson = Lesson(PEER, None, other.answer.outputs, {name: name for name in other.answer.outputs})
    found = compare(mine.pupil.model, mine.answer, lesson)
    if detach:
        return found
    sizes = {name: value.shape for name, value in found.teacher.items()}
    # Only where the grids are one; a map that was moved onto another holds still.
    open_maps = {
        name: value if value.shape == sizes[name] else found.teacher[name]
        for name, value in other.answer.outputs.items()
    }
    return found._replace(teacher=open_maps)


def _rows(numbers: List[int], count: int, device: torch.device) -> Optional[Tensor]:
    """Their numbers on the device, None for all."""
    if len(numbers) == count:
        return None
    return torch.tensor(numbers, dtype=torch.long).to(device, non_blocking=True)
