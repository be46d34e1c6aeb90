"""Teachers that are OpenMMLab models, read at their modules by path."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

from ..dry_run import TapInfo, probe
from ..images import is_rgb
from ..taps import Tap, TapRecorder, split_run
from .teacher import Teacher

# Sides of the dry run's picture; the first that the model accepts is taken.
_SIDES = (64, 128, 256)
# What mmtrack's models call their clips (N, T, 3, H, W).
_CLIP = 'img'
_TAP_KEYS = ('path', 'call')

Taps = Union[None, Sequence[str], Dict[str, Union[str, dict]]]


class Place(NamedTuple):
    """Where a feature is read: a module's path, and which of its runs is meant."""

    path: str
    call: int = 0

    @classmethod
    def parse(cls, text: str) -> Place:
        """Reads 'neck[0]@1', the second run of 'neck[0]'; without '@' the first is meant."""
        path, run = split_run(text)
        return cls(path, run or 0)


class Preprocessing(NamedTuple):
    """What a data preprocessor does to images in 0..255."""

    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    channel_order: str
    divisor: int


class _Enough(BaseException):
    """Ends the forward pass behind the last tap; no handler of a model catches it."""


class TappedTeacher(Teacher):
    """A teacher whose network is an OpenMMLab model.

    Features: any module's output by its path, as a distiller taps its student (see
    :class:`mmkd.distill.taps.Tap`): 'neck', 'backbone.stage4[2]', 'head[heatmap]'; 'neck[0]@1' is
    what a module gives when it runs for the second time. The model runs with ``mode='tensor'``
    and without data samples, as far as the deepest tap.

    A subclass writes :meth:`_bare`.

    Args:
        taps: Short names for paths, ``dict(stage4='backbone[3]')``, also with which run of the
            module is meant, ``dict(path='backbone', call=1)``, the first (0) if it does not say;
            or a list of paths. Then there are no other features. None: every path is one.
        kwargs: See :class:`Teacher`.

    Raises:
        MMKDError: ``taps`` is something else.
    """

    def __init__(self, taps: Taps = None, **kwargs):
        if kwargs.get('compile'):
            raise MMKDError(
                f'{type(self).__name__} cannot be compiled: it runs as far as its taps. Leave '
                'compile= out.'
            )
        super().__init__(**kwargs)
        self._named = _parse_taps(taps, type(self).__name__)
        self._places: Dict[str, Place] = {}
        self._found: Dict[str, TapInfo] = {}
        # Name of the entry that the model reads, None if it reads a tensor.
        self._form: Optional[str] = None

    # What a subclass writes.

    def _bare(self, real: bool = False) -> nn.Module:
        """A model like the network, for its modules and shapes.

        Args:
            real: Whether it must have memory.
        """
        raise NotImplementedError

    # What it gets for it.

    @property
    def channels(self) -> Dict[str, int]:
        """Feature name to channels, of those that were checked or requested."""
        return {name: info.channels for name, info in self._look().items()}

    @property
    def strides(self) -> Dict[str, float]:
        """Feature name to pixels per cell, of those that were checked or requested."""
        strides = {name: info.stride for name, info in self._look().items()}
        return {n: int(s) if float(s).is_integer() else s for n, s in strides.items()}

    def check(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._places:
                continue
            if self._named is not None and name not in self._named:
                raise MMKDError(
                    f'{type(self).__name__} has no feature {name!r}. {nearest(name, self._named)}'
                )
            place = Place.parse(name) if self._named is None else self._named[name]
            Tap(self._model(), place.path, f'the teacher, {self.describe()}')
            self._places[name] = place

    def extract(self, x: Tensor) -> Dict[str, Tensor]:
        self._look()
        names = self._requested
        places = [self._places[name] for name in names]
        recorder = TapRecorder([Tap(self.net, path) for path in {place.path for place in places}])
        stop = _stop_behind(self.net, recorder, places)
        with recorder.record(self.net), stop, suppress(_Enough):
            self.net(self._arrange(x), None, mode='tensor')
        for place in places:
            if recorder.calls(place.path) <= place.call:
                raise MMKDError(
                    f'{self.describe()}: the module behind {place.path!r} ran '
                    f"{recorder.calls(place.path)} time(s) with mode='tensor', but run "
                    f'{place.call} (from 0) is asked for.'
                )
        return {name: recorder.get(place.path, place.call) for name, place in zip(names, places)}

    def _arrange(self, x: Tensor) -> Any:
        """What the model reads, of pictures as :meth:`preprocess` makes them."""
        return x if self._form is None else {self._form: x[:, None]}

    def _model(self, real: bool = False) -> nn.Module:
        return self.net if self.net is not None else self._bare(real)

    def _look(self) -> Dict[str, TapInfo]:
        """Finds the shapes of what was checked so far, by a dry run."""
        lacking = [name for name in self._places if name not in self._found]
        if lacking:
            paths = list(dict.fromkeys(self._places[name].path for name in lacking))
            infos = self._probe(paths)
            for name in lacking:
                self._found[name] = infos[self._places[name].path]
        return self._found

    def _probe(self, paths: List[str]) -> Dict[str, TapInfo]:
        error: Optional[Exception] = None
        for real in (False, True):
            model = self._model(real)
            taps = [Tap(model, path) for path in paths]
            for form in self._forms(model):
                for side in _SIDES:
                    shape = (1, 3, side, side) if form is None else {form: (1, 1, 3, side, side)}
                    found, reason = probe(model, taps, shape)
                    if len(found) == len(paths):
                        self._form = form
                        return found
                    error = error or reason
            if next((p.device.type for p in model.parameters()), 'cpu') != 'meta':
                # It had memory at once, another try would be the same.
                break
        why = 'does not reach it' if error is None else f'fails ({type(error).__name__}: {error})'
        raise MMKDError(
            f'{self.describe()}: the shapes of {", ".join(map(repr, paths))} could not be found: a '
            f"dry run of the model, mode='tensor', {why}."
        )

    def _forms(self, model: nn.Module) -> List[Optional[str]]:
        clips = any('Track' in cls.__name__ for cls in type(model.data_preprocessor).__mro__)
        return [_CLIP, None] if clips else [None, _CLIP]

    def _adopt(self, preprocessor: nn.Module) -> None:
        """Prepares pictures as a model's own data preprocessor does."""
        settings = read_preprocessor(preprocessor)
        for name in ('mean', 'std'):
            value = torch.tensor(getattr(settings, name), dtype=torch.float32)
            setattr(self, name, value.view(1, 3, 1, 1).to(self.mean.device))
        self.channel_order = settings.channel_order
        self.patch = settings.divisor


def read_preprocessor(preprocessor: nn.Module) -> Preprocessing:
    """Reads the settings of mmengine's ``ImgDataPreprocessor`` and its relatives.

    Raises:
        MMKDError: It does not make colour images.
    """
    mean, std = (0.0,) * 3, (1.0,) * 3
    if getattr(preprocessor, '_enable_normalize', False):
        mean = tuple(preprocessor.mean.flatten().tolist())
        std = tuple(preprocessor.std.flatten().tolist())
    if len(mean) != 3 or len(std) != 3:
        raise MMKDError(
            f'A teacher reads colour images, but its {type(preprocessor).__name__} has the mean '
            f'{mean}.'
        )
    return Preprocessing(
        mean,
        std,
        'rgb' if is_rgb(preprocessor) else 'bgr',
        int(getattr(preprocessor, 'pad_size_divisor', 1) or 1),
    )


@contextmanager
def _stop_behind(
    model: nn.Module, recorder: TapRecorder, places: Sequence[Place]
) -> Iterator[None]:
    """Ends the forward pass by :class:`_Enough` when all of these have been recorded."""

    def look(module: nn.Module, args: Any, output: Any) -> None:
        if all(recorder.calls(place.path) > place.call for place in places):
            raise _Enough

    modules = {Tap(model, place.path).module(model) for place in places}
    handles = [module.register_forward_hook(look) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _parse_taps(taps: Taps, owner: str) -> Optional[Dict[str, Place]]:
    if taps is None:
        return None
    if isinstance(taps, str) or not taps:
        raise MMKDError(f'{owner} takes taps=dict(name=path) or a list of paths, but got {taps!r}.')
    pairs = taps.items() if isinstance(taps, dict) else [(path, path) for path in taps]
    places: Dict[str, Place] = {}
    for name, value in pairs:
        tap = dict(value) if isinstance(value, dict) else {'path': value}
        for key in tap:
            if key not in _TAP_KEYS:
                raise MMKDError(f'taps: {name!r} has no {key!r}. {nearest(key, _TAP_KEYS)}')
        if not isinstance(tap.get('path'), str):
            raise MMKDError(f'taps: {name!r} needs path=, of a module, but got {value!r}.')
        place = Place.parse(tap['path'])
        call = tap.get('call', place.call)
        if not isinstance(call, int) or isinstance(call, bool) or call < 0:
            raise MMKDError(f'taps: {name!r} has call={call!r}, which counts a run, from 0.')
        places[name] = Place(place.path, call)
    return places
