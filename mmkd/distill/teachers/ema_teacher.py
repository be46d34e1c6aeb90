"""The student's own average as a teacher (Tarvainen and Valpola, arXiv 1703.01780)."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .fingerprint import Fingerprint, identify
from .tapped import TappedTeacher, Taps
from .weight_files import some

BUFFERS = ('copy', 'average')
_STEPS = 'steps'
_NET = 'net.'


@MODELS.register_module()
class EMATeacher(TappedTeacher):
    """A moving average of the student's weights, a mean teacher.

    It is a copy of the student, made when training starts. At the beginning of every step it
    moves towards it: ``average += momentum * (student - average)``. It has its place in the
    checkpoint, so that a resumed run goes on exactly.

    Features: those of the copy; see :class:`.tapped.TappedTeacher`. Pictures reach it as its data
    preprocessor makes them.

    Args:
        momentum: How far it moves in one step, in (0, 1]; mmengine's averages count the same way.
            0.001 is the paper's decay of 0.999.
        warm_up: Whether the first steps move it further, ``max(momentum, 1 / (1 + step))``, so
            that it is the plain mean of the first students, as in the paper.
        buffers: 'copy' takes the student's buffers, such as a BatchNorm's statistics, 'average'
            averages those that are no integers as well.
        taps: See :class:`.tapped.TappedTeacher`.
        kwargs: See :class:`Teacher`; ``mean``, ``std``, ``channel_order`` and ``patch`` are the
            student's and cannot be given.

    Raises:
        MMKDError: An option is something else, or a ``dtype`` is given in which small steps
            would be rounded away.
    """

    stateful = True

    def __init__(
        self,
        momentum: float = 0.001,
        warm_up: bool = True,
        buffers: str = 'copy',
        taps: Taps = None,
        **kwargs,
    ):
        super().__init__(taps, **kwargs)
        if isinstance(momentum, bool) or not isinstance(momentum, (int, float)):
            raise MMKDError(f'EMATeacher: momentum is a number in (0, 1], but got {momentum!r}.')
        if not 0 < momentum <= 1:
            raise MMKDError(f'EMATeacher: momentum is a number in (0, 1], but got {momentum!r}.')
        if buffers not in BUFFERS:
            raise MMKDError(f'EMATeacher has no buffers={buffers!r}. {nearest(buffers, BUFFERS)}')
        if self.dtype_name is not None:
            raise MMKDError(
                f'EMATeacher has no dtype={self.dtype_name!r}: it keeps the type of the student, '
                'as steps of an average would be rounded away in a smaller one. With --amp it '
                'computes in half precision as the student does.'
            )
        self.momentum, self.warm_up, self.buffer_rule = float(momentum), warm_up, buffers
        self._steps = 0
        self._memory: Dict[str, Tensor] = {}
        # In a tuple: the student is no part of this module.
        self._student: tuple = ()

    def describe(self) -> str:
        return f"the student's own average (momentum {self.momentum:g})"

    def bind(self, student: nn.Module) -> None:
        """Args:
        student: What to average; its data preprocessor becomes the teacher's.
        """
        self._student = (student,)
        self._adopt(student.data_preprocessor)
        # The student's pictures are padded already.
        self.patch = 1

    def build(self) -> nn.Module:
        net = copy.deepcopy(self._bare())
        for parameter in net.parameters():
            parameter.grad = None
        if self._memory:
            self._restore(net)
        return net

    def _bare(self, real: bool = False) -> nn.Module:
        if not self._student:
            raise MMKDError(
                'EMATeacher has no student to average: a distiller shows it its own; elsewhere '
                'call bind(student) first.'
            )
        return self._student[0]

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Moves towards the student by one step.

        Args:
            student: The bound one, with its weights of now.

        Raises:
            MMKDError: Its parameters are no longer those of the copy.
        """
        if not self.loaded:
            return
        weight = self.momentum
        if self.warm_up:
            weight = max(weight, 1 / (1 + self._steps))
        self._steps += 1
        (ours, kept), (theirs, current) = _tensors(self.net), _tensors(student)
        self._check_pairs(ours + kept, theirs + current)
        copied: List[Tuple[Tensor, Tensor]] = []
        for average, value in zip(kept, current):
            if self.buffer_rule == 'average' and average.is_floating_point():
                ours.append(average)
                theirs.append(value)
            else:
                copied.append((average, value))
        # One kernel for many tensors, not one for each.
        if ours:
            torch._foreach_lerp_(ours, theirs, weight)
        if copied:
            _copy(*map(list, zip(*copied)))

    def _check_pairs(self, ours: List[Tensor], theirs: List[Tensor]) -> None:
        if [value.shape for value in ours] != [value.shape for value in theirs]:
            raise MMKDError(
                'EMATeacher: the student has other parameters or buffers than when its average '
                'was begun. Change a model before training starts, not in the middle of it.'
            )

    def memory(self) -> Dict[str, Tensor]:
        if not self.loaded:
            return dict(self._memory)
        state = {_NET + key: value for key, value in self.net.state_dict().items()}
        return {_STEPS: torch.tensor(self._steps), **state}

    def load_memory(self, memory: Dict[str, Tensor]) -> None:
        """Args:
            memory: What :meth:`memory` gave; before the teacher is loaded it waits.

        Raises:
            MMKDError: It is of another model.
        """
        self._memory = {key: value.detach().clone() for key, value in memory.items()}
        if self.loaded:
            self._restore(self.net)

    def _restore(self, net: nn.Module) -> None:
        memory, self._memory = self._memory, {}
        state = {k[len(_NET) :]: v for k, v in memory.items() if k.startswith(_NET)}
        given, wanted = ({k: v.shape for k, v in s.items()} for s in (state, net.state_dict()))
        odd = sorted(k for k in {*given, *wanted} if given.get(k) != wanted.get(k))
        if odd:
            # Before anything is written: half of an average is none.
            raise MMKDError(
                "The average in the checkpoint is of another student than this run's: they differ "
                f'in {some(odd, 4)}.'
            )
        net.load_state_dict(state, strict=True)
        self._steps = int(memory[_STEPS])

    def release(self) -> None:
        # If it is needed again, it goes on from here.
        self._memory = {key: value.cpu() for key, value in self.memory().items()}
        super().release()

    def identity(self) -> Fingerprint:
        """Of its kind and its preprocessing: its weights change in every step."""
        return identify({}, dict(self._preprocessing(), kind=type(self).__name__))

    def _preprocessing(self) -> Dict[str, Any]:
        return dict(
            super()._preprocessing(),
            momentum=self.momentum,
            warm_up=self.warm_up,
            buffers=self.buffer_rule,
        )


def _tensors(model: nn.Module) -> Tuple[List[Tensor], List[Tensor]]:
    """Its parameters and its buffers, each once, in one walk: it is made in every step."""
    parameters: Dict[int, Tensor] = {}
    buffers: Dict[int, Tensor] = {}
    for module in model.modules():
        for own, found in ((module._parameters, parameters), (module._buffers, buffers)):
            for tensor in own.values():
                if tensor is not None:
                    found.setdefault(id(tensor), tensor)
    return list(parameters.values()), list(buffers.values())


def _copy(targets: List[Tensor], values: List[Tensor]) -> None:
    if hasattr(torch, '_foreach_copy_'):
        torch._foreach_copy_(targets, values)
        return
    for target, value in zip(targets, values):
        target.copy_(value)
