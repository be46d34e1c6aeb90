"""An OpenMMLab model as a teacher that reads all that the student reads, not one image."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..dry_run import DryInput, TapInfo, dry_pass
from ..taps import Tap
from .bundle import Bundle
from .model_teacher import ModelTeacher
from .runtime import Pending
from .tapped import _SIDES, Place, Taps

Inputs = Union[Tensor, Dict[str, Tensor]]

# A template and a search region, as Siamese trackers read them.
_PAIR = {'img': (1, 1, 3, 127, 127), 'search_img': (1, 1, 3, 255, 255)}


class _Seen(NamedTuple):
    """One run of a tapped module in a dry run; ``height`` is None of a vector."""

    channels: int
    height: Optional[int]


@MODELS.register_module()
class BatchTeacher(ModelTeacher):
    """A trained model whose input is the student's whole input, in the student's structure.

    A Siamese tracker reads a template and a search region, and runs its backbone on each: one
    image is no input for it. This teacher is given everything (:meth:`read`), normalises and pads
    each entry as its own model's data preprocessor does it, and runs the model with
    ``mode='tensor'``.

    Features: taps with an optional run, counted from 0: with a tracker that runs its neck on the
    template first, 'neck[0]@0' (or 'neck[0]') is the template's map and 'neck[0]@1' that of the
    search region; 'head[0]' is the first output of the head.

    Samples do not touch each other in eval mode: a part of a batch has the features that it has
    within the whole batch, which is what ``micro_batch`` and sub-batches rely on.

    Args:
        config: See :class:`ModelTeacher`, also for ``weights``, ``taps`` and ``options``.
        weights: The checkpoint, or 'random'.
        taps: Short names for features, ``dict(search='neck[0]@1')``.
        options: Changes of the config.
        dry_input: Shapes for the dry run that finds channels: of one tensor, or of each entry of
            a dict, for one sample. None: those of one image are tried, then those of a template
            (1, 1, 3, 127, 127) in 'img' and a search region (1, 1, 3, 255, 255) in 'search_img'.
        kwargs: See :class:`Teacher`. ``input_size`` can only be a factor: entries have sizes of
            their own.

    Raises:
        MMKDError: As :class:`ModelTeacher`; ``input_size`` is (h, w); or, when it is first
            needed, the model has no ``mode='tensor'``.
    """

    def __init__(
        self,
        config: Union[str, dict],
        weights: Optional[str] = None,
        taps: Taps = None,
        options: Optional[dict] = None,
        dry_input: DryInput = None,
        **kwargs,
    ):
        super().__init__(config, weights, taps, options, **kwargs)
        if isinstance(self.input_size, tuple):
            raise MMKDError(
                'BatchTeacher takes input_size= as one factor on all entries of its input, which '
                f'have sizes of their own, but got {self.input_size!r}.'
            )
        self.dry_input = _check_shapes(dry_input)
        # What the model read in its dry run.
        self._shapes: Any = None

    # Its input.

    def read(self, inputs: Inputs, data_samples: Optional[Sequence] = None) -> Pending:
        """Starts the forward pass; another name of :meth:`launch`.

        Args:
            inputs: The student's structure with pictures in RGB, 0..255: a dict of
                (N, T, 3, H, W) or (N, 3, H, W), or one (N, 3, H, W). See
                :func:`mmkd.distill.images.to_rgb`.
            data_samples: Not read.

        Returns:
            What to wait() for: feature name to (N, C, h, w) or (N, C).

        Raises:
            MMKDError: An entry is no batch of pictures; the weights cannot be loaded.
        """
        return self.launch(inputs, data_samples)

    def launch(self, images: Inputs, data_samples: Optional[Sequence] = None) -> Pending:
        """See :meth:`read`."""
        if isinstance(images, dict):
            images = Bundle(images)
        return super().launch(images, data_samples)

    def preprocess(self, images: Union[Tensor, Bundle]) -> Union[Tensor, Bundle]:
        """Normalises and pads every entry; see :meth:`Teacher.preprocess`."""
        if isinstance(images, Bundle):
            return images.map(self._prepare)
        return super().preprocess(images)

    def _prepare(self, images: Tensor) -> Tensor:
        if images.dim() == 4:
            return super().preprocess(images)
        return super().preprocess(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def _arrange(self, x: Union[Tensor, Bundle]) -> Any:
        reads = self._shapes
        if not isinstance(x, Bundle):
            if not isinstance(reads, dict):
                return x
            if len(reads) > 1:
                raise MMKDError(self._lacks(reads, 'one tensor'))
            name, shape = next(iter(reads.items()))
            return {name: x if len(shape) == 4 else x[:, None]}
        if isinstance(reads, dict):
            if any(name not in x.entries for name in reads):
                raise MMKDError(self._lacks(reads, ', '.join(map(repr, x.entries))))
            return x.entries
        image = next(iter(x.entries.values()))
        if len(x.entries) > 1 or (image.dim() == 5 and image.shape[1] > 1):
            raise MMKDError(
                f'{self.describe()}: it reads one image of a sample, but the student reads '
                f'{", ".join(f"{name}: {tuple(v.shape)}" for name, v in x.entries.items())}. '
                'dry_input=dict(...) says what it reads if it can read more.'
            )
        return image if image.dim() == 4 else image[:, 0]

    def _lacks(self, reads: Dict[str, Any], given: str) -> str:
        names = ', '.join(map(repr, reads))
        return f'{self.describe()}: it reads the entries {names}, but the student reads {given}.'

    def extract(self, x: Union[Tensor, Bundle]) -> Dict[str, Tensor]:
        features = super().extract(x)
        for name, value in features.items():
            if len(value) != len(x) and self._cuts():
                raise MMKDError(
                    f'{self.describe()}: {name!r} has {len(value)} rows for {len(x)} samples, so '
                    'that its batch cannot be cut. Leave micro_batch and memory_budget out.'
                )
        return features

    def _cuts(self) -> bool:
        pieces = self.runtime.micro_batch
        return pieces.size is not None or pieces.budget is not None

    # Its shapes.

    def _look(self) -> Dict[str, TapInfo]:
        """Finds the shapes of what was checked so far, each run of a module for itself."""
        lacking = {n: place for n, place in self._places.items() if n not in self._found}
        if not lacking:
            return self._found
        shapes, runs = self._search(list(lacking.values()))
        sides = [s[-2] for s in (shapes.values() if isinstance(shapes, dict) else [shapes])]
        for name, place in lacking.items():
            seen = runs[place.path]
            # A module that runs once for each entry reads them in their order; one that joins
            # them has the grid of the largest.
            side = sides[place.call] if len(seen) == len(sides) else max(sides)
            height = seen[place.call].height
            stride = 0.0 if height is None else side / height
            self._found[name] = TapInfo(seen[place.call].channels, stride)
        self._shapes = shapes
        return self._found

    def _search(self, places: List[Place]) -> Tuple[Any, Dict[str, List[_Seen]]]:
        """The input that the model accepts, and what ran with it, by path."""
        failure: Optional[Exception] = None
        furthest = -1
        for real in (False, True):
            model = self._model(real)
            best, most = None, 0
            for shapes in self._candidates(model):
                runs, error = _record(model, [place.path for place in places], shapes)
                reached = all(len(runs[place.path]) > place.call for place in places)
                if reached and error is None:
                    return shapes, runs
                # An input that lacks an entry gets as far as the first backbone.
                ran = sum(map(len, runs.values()))
                if reached and ran > most:
                    best, most = (shapes, runs), ran
                if ran > furthest:
                    failure, furthest = error, ran
            if best is not None:
                return best
            if next((p.device.type for p in model.parameters()), 'cpu') != 'meta':
                break
        raise MMKDError(self._unreached(places, failure))

    def _candidates(self, model: nn.Module) -> List[Any]:
        if self.dry_input is not None:
            return [self.dry_input]
        forms = self._forms(model)
        plain = [
            (1, 3, side, side) if form is None else {form: (1, 1, 3, side, side)}
            for form in forms
            for side in _SIDES
        ]
        return [*plain, _PAIR]

    def _unreached(self, places: Sequence[Place], error: Optional[Exception]) -> str:
        names = ', '.join(dict.fromkeys(repr(place.path) for place in places))
        told = f"{self.describe()}: the shapes of {names} could not be found by mode='tensor', "
        if error is None:
            runs = max(place.call for place in places) + 1
            return f'{told}which does not reach them, or runs them less than {runs} time(s).'
        told += f'which fails ({type(error).__name__}: {error}). '
        if isinstance(error, (NotImplementedError, AttributeError)):
            return told + (
                "If the model does not implement it, take a class that does: mmtrack's SiamRPN "
                'does not, mmkd.SiamRPN does and loads its checkpoints '
                "(options={'model.type': 'mmkd.SiamRPN'})."
            )
        return told + 'dry_input=dict(img=(1, 1, 3, 127, 127), ...) says what it reads.'


def _record(
    model: nn.Module, paths: Sequence[str], shapes: Any
) -> Tuple[Dict[str, List[_Seen]], Optional[Exception]]:
    """What modules give in a dry run, run by run, and what stopped it, if anything did."""
    taps = {path: Tap(model, path, 'the teacher') for path in paths}
    reference = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    wrong: List[Exception] = []
    best: Dict[str, List[_Seen]] = {path: [] for path in paths}
    failure: Optional[Exception] = None

    def watch(tap: Tap, seen: List[_Seen]):
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            try:
                value = tap.select(output)
            except MMKDError as error:
                wrong.append(error)
                raise
            seen.append(_Seen(value.shape[1], value.shape[2] if value.dim() == 4 else None))

        return hook

    for device in dict.fromkeys([torch.device('meta'), reference.device]):
        runs: Dict[str, List[_Seen]] = defaultdict(list)
        handles = [
            tap.module(model).register_forward_hook(watch(tap, runs[path]))
            for path, tap in taps.items()
        ]
        try:
            dry_pass(model, shapes, device, reference.dtype)
            return runs, None
        except Exception as error:  # whatever a foreign model raises on an input it does not know
            if wrong:
                # The tap itself is wrong; no other input will mend that.
                raise wrong[0] from None
            failure = failure or error
            if sum(map(len, runs.values())) > sum(map(len, best.values())):
                best, failure = runs, error
        finally:
            for handle in handles:
                handle.remove()
    return best, failure


def _check_shapes(dry_input: Any) -> Any:
    if dry_input is None:
        return None
    shapes = dry_input if isinstance(dry_input, dict) else {'input': dry_input}
    for shape in shapes.values():
        sides = isinstance(shape, (tuple, list)) and all(
            isinstance(side, int) and side > 0 for side in shape
        )
        if not sides or len(shape) not in (4, 5):
            raise MMKDError(
                'BatchTeacher takes dry_input=dict(img=(1, 1, 3, 127, 127), ...), the shapes of '
                f'what its model reads, but got {dry_input!r}.'
            )
    if isinstance(dry_input, dict):
        return {name: tuple(shape) for name, shape in dry_input.items()}
    return tuple(dry_input)
