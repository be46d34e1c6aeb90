"""What a teacher says of the samples of a step that are its, beside what a pupil says of them."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from mmkd.errors import MMKDError

from ..response import Response
from ..taps import TapRecorder, split_run
from ..teachers import Teacher
from ..transforms.centre_align import centre_align

# What a model has that answers can be compared of; see mmkd.distill.response.Respondent.
RESPONDENT = ('response_taps', 'sample_targets', 'sample_losses', 'response_masks')


class Lesson(NamedTuple):
    """One teacher's part in a step."""

    teacher: str
    rows: Optional[Tensor]
    """(n,) long, the samples that it teaches; None: all of them."""
    features: Dict[str, Tensor]
    """Of these samples only."""
    answer_taps: Dict[str, str]
    """Name of a part of its answer to the feature that has it."""


class Answer(NamedTuple):
    """A pupil's answer to the whole batch."""

    outputs: Dict[str, Tensor]
    targets: Any
    masks: Dict[str, Tensor]
    losses: Tensor
    """(N,), with their gradient."""


def check_respondent(model: nn.Module, why: str) -> None:
    """Sees that a model's answers can be compared sample by sample.

    Raises:
        MMKDError: They cannot.
    """
    missing = [name for name in RESPONDENT if not hasattr(model, name)]
    if missing:
        raise MMKDError(
            f'{why} compares answers sample by sample, for which {type(model).__name__} lacks '
            f'{", ".join(missing)}; see mmkd.distill.response.Respondent. mmkd.SiamRPN and '
            'mmkd.FairMOT have them. Features alone (neck, backbone) need none of it.'
        )


def check_scale(teacher: Teacher, name: str) -> None:
    """Sees that a teacher's answer is about pictures of the student's size.

    Raises:
        MMKDError: It enlarges them: its cells and anchors are others.
    """
    factor = teacher.input_size
    if isinstance(factor, (int, float)) and factor != 1:
        raise MMKDError(
            f'The teacher {name!r} sees pictures {factor:g} times as large (input_size) as the '
            'student, so that the cells and anchors of its answer are others. Leave input_size '
            'out where answers are compared (trust=, mutual= or losses of the answer).'
        )


def read(recorder: TapRecorder, path: str) -> Tensor:
    """A recorded map, by a path such as 'neck[0]@1'."""
    bare, run = split_run(path)
    return recorder.get(bare, run)


def answer_of(model: Any, recorder: TapRecorder, targets: Any) -> Answer:
    """What a model has just answered to a batch."""
    outputs = {name: read(recorder, path) for name, path in model.response_taps.items()}
    return Answer(
        outputs, targets, model.response_masks(targets), model.sample_losses(outputs, targets)
    )


def compare(model: Any, answer: Answer, lesson: Lesson) -> Response:
    """A pupil's and a teacher's answer to the teacher's samples.

    Args:
        model: The pupil, whose task judges both.
        answer: Its answer, to the whole batch.
        lesson: The teacher's.
    """
    sizes = {name: tuple(value.shape[2:]) for name, value in answer.outputs.items()}
    theirs = {
        name: _meet(lesson.features[tap].detach(), sizes[name], lesson.teacher)
        for name, tap in lesson.answer_taps.items()
    }
    rows, targets = lesson.rows, answer.targets
    if rows is not None:
        targets = targets.index(rows)
    with torch.no_grad():
        teacher_loss = model.sample_losses(theirs, targets)
    masks = {name: pick(value, rows) for name, value in answer.masks.items()}
    return Response(
        matched=masks.get('matched'),
        positive=masks.get('positive'),
        student={name: pick(value, rows) for name, value in answer.outputs.items()},
        teacher=theirs,
        student_loss=pick(answer.losses, rows),
        teacher_loss=teacher_loss,
    )


def pick(value: Tensor, rows: Optional[Tensor]) -> Tensor:
    """The samples of these rows; all of them for None."""
    return value if rows is None else value.index_select(0, rows)


def _meet(theirs: Tensor, size: Tuple[int, ...], teacher: str) -> Tensor:
    if theirs.dim() != 4 or tuple(theirs.shape[2:]) == size:
        return theirs
    aligned, valid = centre_align(theirs, size)
    if valid is not None:
        raise MMKDError(
            f'The answer of teacher {teacher!r} is a map of {tuple(theirs.shape[2:])}, around the '
            f"same centre as the student's {size} but smaller, so that it says nothing of the "
            'border. Take a teacher with a larger map, or the other way round.'
        )
    # A crop is a view; who judges answers may want to look at them in another shape.
    return aligned.contiguous()


class Shares(NamedTuple):
    """How much each teacher counts for each sample."""

    general: Tensor
    """(N,), 0 or more."""
    specialists: Tensor
    """(N, K)."""
    active: Tensor
    """(N, K) bool: which specialists had the sample at all."""


def share(
    trust: Optional[nn.Module],
    names: Sequence[str],
    routes: Dict[str, List[int]],
    losses: Dict[str, Tensor],
    rows: Dict[str, Optional[Tensor]],
    general: Optional[Tensor],
    count: int,
    device: torch.device,
) -> Shares:
    """Weighs the teachers of a step.

    Args:
        trust: Such as GateTrust; without, everyone counts fully for the samples it teaches.
        names: The specialists, in their order.
        routes: Of those that teach in this step: the numbers of their samples.
        losses: Name to (n,), their task losses of these samples; not read without trust.
        rows: Name to the same numbers on the device.
        general: (N,), the general teacher's task losses; not read without trust.
        count: N.
        device: Where the maps are.
    """
    table = torch.zeros(count, len(names), dtype=torch.bool)
    for column, name in enumerate(names):
        table[routes.get(name, []), column] = True
    active = table.to(device, non_blocking=True)
    if trust is None:
        return Shares(torch.ones(count, device=device), active.float(), active)
    found = torch.zeros(count, len(names), device=device)
    for column, name in enumerate(names):
        if name in losses:
            value = losses[name].float()
            if rows[name] is None:
                found[:, column] = value
            else:
                found[:, column].index_copy_(0, rows[name], value)
    return Shares(*trust(general.float(), found, active), active)


def divisor(shares: Shares, by: str) -> Union[float, Tensor]:
    """What the sum over specialists and samples is divided by.

    Args:
        shares: The step's.
        by: 'batch', the number of samples; or 'active', what all specialists of all processes
            count together, at least one sample: then few samples of an attribute teach as much
            as many.
    """
    if by == 'batch':
        return float(max(len(shares.general), 1))
    total = shares.specialists.sum()
    world = get_world_size()
    if world > 1:
        total = total.clone()
        all_reduce(total)
    # DDP takes the mean of the gradients of all processes.
    return total.clamp(min=1.0) / world


def total(values: Tensor, weights: Tensor, by: Union[float, Tensor]) -> Tensor:
    """``sum(values * weights) / by``. A NaN of somebody who does not count is not hidden: its
    gradient could not be.

    Args:
        values: (n,), or (n * T,) of clips of T frames, whose mean is their sample's value.
        weights: (n,).
        by: A number; a tensor of one would have the host wait.
    """
    if len(values) != len(weights):
        values = values.unflatten(0, (len(weights), -1)).mean(1)
    return (values * weights).sum() / by
