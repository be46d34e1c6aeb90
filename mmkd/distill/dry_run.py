"""One forward pass on a tiny input, to learn the shapes behind the taps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .taps import Tap

# The first that a student accepts is taken; few need more than the smallest.
_SIDES = (64, 128, 256)

DryInput = Union[None, Sequence[int], Dict[str, Sequence[int]]]


class TapInfo(NamedTuple):
    """What is known of a tap before training; a vector (N, C) has the stride 0."""

    channels: int
    stride: float


class _Enough(BaseException):
    """Ends the forward pass once every tap has been seen; no handler of a model catches it."""


def probe(
    student: nn.Module, taps: Sequence[Tap], dry_input: DryInput = None
) -> Tuple[Dict[str, TapInfo], Optional[Exception]]:
    """Finds the channels and strides of taps.

    Runs ``student(inputs, None, mode='tensor')`` without memory on the meta device, or, where an
    operator cannot, on the student's own. Neither its weights, nor its buffers, nor its modes, nor
    the random number generator are different afterwards. It stops at the last tap, so that
    heads need not run.

    Args:
        student: The model.
        taps: What to look at.
        dry_input: Shapes of the input: of one tensor, or of each entry of a dict. By default
            those of mmtrack and of the other projects are tried.

    Returns:
        Tap path to what was found, for the taps that were reached; and, if not all were, the
        error that stopped the most promising attempt (None if it just ran to its end).
    """
    reference = next((p for p in student.parameters() if p.is_floating_point()), torch.empty(0))
    attempts: List[Callable[[], Any]] = []
    devices = [torch.device('meta'), reference.device]
    for device in devices:
        for shapes in _candidates(student, dry_input):
            attempts.append(
                lambda d=device, s=shapes: _attempt(student, taps, s, d, reference.dtype)
            )
    best: Dict[str, TapInfo] = {}
    first_error: Optional[Exception] = None
    for number, attempt in enumerate(attempts):
        found, error = attempt()
        if len(found) > len(best):
            best, first_error = found, error
        elif number == 0:
            first_error = error
        if len(best) == len({tap.path for tap in taps}):
            return best, None
    return best, first_error


def _candidates(student: nn.Module, dry_input: DryInput) -> List[Any]:
    if isinstance(dry_input, dict):
        return [{key: tuple(shape) for key, shape in dry_input.items()}]
    if dry_input is not None:
        return [tuple(dry_input)]
    preprocessor = getattr(student, 'data_preprocessor', None)
    clips = any('Track' in cls.__name__ for cls in type(preprocessor).__mro__)
    forms: List[Any] = []
    for side in _SIDES:
        pair = [(1, 3, side, side), {'img': (1, 1, 3, side, side)}]
        forms.extend(reversed(pair) if clips else pair)
    # What a Siamese tracker of mmtrack reads: a template and a picture to search in.
    forms.append({'img': (1, 1, 3, 127, 127), 'search_img': (1, 1, 3, 255, 255)})
    return forms


def _attempt(
    student: nn.Module, taps: Sequence[Tap], shapes: Any, device: torch.device, dtype: torch.dtype
) -> Tuple[Dict[str, TapInfo], Optional[Exception]]:
    first = next(iter(shapes.values())) if isinstance(shapes, dict) else shapes
    found: Dict[str, TapInfo] = {}
    wrong: List[Exception] = []

    def watch(tap: Tap):
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            try:
                seen = tap.select(output)
            except Exception as error:
                wrong.append(error)
                raise
            stride = first[-2] / seen.shape[-2] if seen.dim() == 4 else 0.0
            found[tap.path] = TapInfo(seen.shape[1], stride)
            if len(found) == len({tap.path for tap in taps}):
                raise _Enough

        return hook

    handles = [tap.module(student).register_forward_hook(watch(tap)) for tap in taps]
    try:
        dry_pass(student, shapes, device, dtype)
    except _Enough:
        return found, None
    except Exception as error:  # whatever a foreign model raises on an input it does not know
        if wrong:
            # The tap itself is wrong; no other input will mend that.
            raise wrong[0] from None
        return found, error
    finally:
        for handle in handles:
            handle.remove()
    return found, None


def dry_pass(model: nn.Module, shapes: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Runs ``model(zeros, None, mode='tensor')`` in eval mode and leaves it as it was.

    Args:
        model: The model.
        shapes: Of the input, or of each entry of a dict.
        device: 'meta', or the model's own.
        dtype: The input's.
    """

    def image(shape: Sequence[int]) -> Tensor:
        return torch.zeros(shape, device=device, dtype=dtype)

    inputs = {k: image(v) for k, v in shapes.items()} if isinstance(shapes, dict) else image(shapes)
    tensors = {name: _stand_in(p, device) for name, p in model.named_parameters()}
    tensors.update({name: _stand_in(b, device) for name, b in model.named_buffers()})
    with torch.no_grad(), _eval_mode(model), _same_randomness(device):
        functional_call(model, tensors, (inputs,), dict(data_samples=None, mode='tensor'))


def _stand_in(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == 'meta':
        return torch.empty_like(tensor, device='meta')
    # Parameters are only read; a buffer might be written to.
    return tensor if isinstance(tensor, nn.Parameter) else tensor.clone()


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode without calling ``train()``, which models override and distillers act upon."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _same_randomness(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == 'cuda' else []):
        yield
