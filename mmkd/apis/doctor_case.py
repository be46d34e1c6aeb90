"""What the doctor's sections tell one another about a config."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader

from mmkd.distill import Distiller
from mmkd.distill.teachers import Teacher
from mmkd.errors import MMKDError

from .doctor_page import Section


class LeftOut(Exception):
    """A section that has nothing to look at; its message says why."""


@dataclass
class Measured:
    """One training step on this machine; times in seconds, sizes in bytes.

    Attributes:
        step: A whole step without instruments, as training runs it.
        parts: One step in parts, each waited for: 'student', 'teacher', 'kd', ...
        measured_apart: All of that step.
        batch: What it takes one process to load a batch.
        wait: What of it a step has to wait for.
        saved: Maps that the backward pass reads again.
        optimiser: The optimiser's state.
        peak: The device's (or on a processor this process's) largest use of memory.
        shapes: Tap or feature to (shape, type) as seen in the step.
        losses: The logged values of the first step.
    """

    step: float = 0.0
    parts: Dict[str, float] = field(default_factory=dict)
    measured_apart: float = 0.0
    batch: float = 0.0
    wait: float = 0.0
    saved: int = 0
    optimiser: int = 0
    peak: int = 0
    shapes: Dict[str, Tuple[Tuple[int, ...], str]] = field(default_factory=dict)
    losses: Dict[str, float] = field(default_factory=dict)


@dataclass
class Case:
    """A config under examination. Sections fill in what later ones need.

    Attributes:
        cfg: The config.
        config: Its file.
        device: Where training would run.
        out: Folder for pictures.
        steps: How many steps are timed; 0 leaves timing out.
        checkpoint: A checkpoint to compare with the model.
        data_missing: Whether files of the training data are not there.
        loader: The training data, loaded in this process.
        size: (H, W) of the first training sample, in pixels as the network sees it.
        num_ids: Identities in the training data, if they are counted.
        model: The model, where it can be built.
        teachers_ready: Whether all teachers have weights, if only random ones for timing.
        failed_teachers: Those whose own weights did not load.
        measured: The timed step.
    """

    cfg: Config
    config: str
    device: torch.device
    out: Path
    steps: int = 3
    checkpoint: Optional[str] = None
    data_missing: bool = False
    loader: Optional[DataLoader] = None
    size: Optional[Tuple[int, int]] = None
    num_ids: Optional[int] = None
    model: Optional[nn.Module] = None
    teachers_ready: bool = True
    failed_teachers: Tuple[str, ...] = ()
    measured: Optional[Measured] = None

    @property
    def distiller(self) -> Optional[Distiller]:
        """The model if it distils."""
        return self.model if isinstance(self.model, Distiller) else None

    @property
    def batch_size(self) -> int:
        """Samples in a batch of one process."""
        cfg = self.cfg.get('train_dataloader') or {}
        return cfg.get('batch_size') or getattr(self.loader, 'batch_size', None) or 1

    def need_model(self) -> nn.Module:
        """The model; without one there is nothing to do."""
        if self.model is None:
            raise LeftOut('Left out: the model could not be built.')
        return self.model

    def need_loader(self) -> DataLoader:
        """The training data; without them there is nothing to do."""
        if self.loader is None:
            raise LeftOut('Left out: there are no training samples to work with.')
        return self.loader


def teachers_of(distiller: Distiller) -> Dict[str, Teacher]:
    """A distiller's teachers by name; a single one is called 'teacher'."""
    if hasattr(type(distiller), 'teachers'):
        return dict(distiller.teachers)
    return {'teacher': distiller.teacher}


Look = Callable[[Case, Section], None]


def examine(title: str, look: Look, case: Case, remedy: str = '') -> Section:
    """Runs one section; whatever happens in it becomes a problem and hides nothing else.

    Args:
        title: Of the section.
        look: Fills the section.
        case: The config under examination.
        remedy: What usually helps if ``look`` fails altogether.
    """
    section = Section(title)
    try:
        look(case, section)
    except LeftOut as reason:
        section.note(str(reason))
    except MMKDError as error:
        section.stop(str(error), remedy)
    except Exception as error:  # whatever a config makes other people's code raise
        section.stop(_tell(error), remedy)
    return section


def _tell(error: Exception) -> str:
    text = str(error).strip()
    lines = text.splitlines()
    if len(lines) > 6:
        text = '\n'.join([*lines[:3], '...', *lines[-3:]])
    frames: List[Any] = traceback.extract_tb(error.__traceback__)
    where = f' (raised in {Path(frames[-1].filename).name}:{frames[-1].lineno})' if frames else ''
    return f'{type(error).__name__}: {text}{where}'
