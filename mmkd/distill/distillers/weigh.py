"""What several teachers, and the task, are worth to each other in one step."""

from __future__ import annotations

from typing import Any, Dict

import torch
from torch import Tensor, nn

from ..uncompiled import uncompiled


def weigh_teachers(
    balance: nn.Module,
    values: Dict[str, Tensor],
    weights: Dict[str, float],
    teacher_of: Dict[str, str],
) -> Dict[str, Tensor]:
    """Weighs teachers sample by sample.

    Args:
        balance: From losses (N, T) to shares (N, T), such as TeacherDrop.
        values: Pair to its loss per sample, (N,).
        weights: Pair to its weight.
        teacher_of: Pair to its teacher.

    Returns:
        Pair to a scalar.
    """
    teachers = list(dict.fromkeys(teacher_of[name] for name in values))
    totals = []
    for teacher in teachers:
        own = [name for name in values if teacher_of[name] == teacher]
        totals.append(torch.stack([values[n].detach() * weights[n] for n in own]).sum(0))
    shares = balance(torch.stack(totals, dim=1))
    # Teachers that are left out must not make the distillation weaker.
    shares = shares * (shares.numel() / shares.sum().clamp(min=1))
    column = {teacher: i for i, teacher in enumerate(teachers)}
    return {
        name: (value * shares[:, column[teacher_of[name]]]).mean() for name, value in values.items()
    }


@uncompiled
def calibrate(
    calibration: nn.Module,
    step: int,
    out: Dict[str, Any],
    kd: Dict[str, Tensor],
    share: float,
    shared: nn.Module,
) -> None:
    """Scales the distillation's losses, and measures first if it is time.

    Args:
        calibration: Such as GradientRatio.
        step: The number of the step.
        out: All losses as they will be summed; those of pairs are scaled, and logs are added.
        kd: Pair to its loss at full weight, a scalar.
        share: From the task's losses in ``out`` to those at full weight.
        shared: The module on whose parameters both meet.
    """
    keys = [f'loss_kd_{name}' for name in kd]
    if calibration.due(step):
        task = [value for key, value in out.items() if 'loss' in key and key not in keys]
        parts = [item for v in task for item in ([v] if isinstance(v, Tensor) else v)]
        calibration.measure(
            torch.stack([part.mean().float() for part in parts]).sum() * share,
            torch.stack([value.float() for value in kd.values()]).sum(),
            [p for p in shared.parameters() if p.requires_grad],
        )
    for key in keys:
        out[key] = calibration(out[key])
    out.update(calibration.logs())
