"""A teacher whose features were computed before."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..cache import batches
from ..cache.codec import parse_storage
from ..cache.comparison import Comparison, masks_of
from ..cache.manifest import EXACT, MODES, WARP, Manifest, differences, refuse
from ..cache.record import FIELD, StoredRecord
from ..cache.store import exists, load_codecs
from ..cache.warp import move
from .fingerprint import Fingerprint
from .runtime import Pending
from .teacher import Teacher

MISSING = ('live', 'build', 'refuse')
_TOLD = 3


@MODELS.register_module()
class CachedTeacher(Teacher):
    """Wraps any teacher; reads its features from a cache instead of computing them.

    ``tools/cache_teacher.py CONFIG`` builds the cache of a config that has this teacher. The
    training samples must carry what the cache has for them: mmkd.TrackRunner wraps the training
    set by itself (:meth:`data_needs`), elsewhere the config says ``type='mmkd.ReplayDataset'``.

    In the first steps of every training the wrapped teacher runs beside the cache, on
    ``verify`` pictures, and the two are compared; then its network is released. A cache of another
    teacher, other taps, or whose features are not the live ones, is refused.

    Args:
        teacher: The teacher, or its config.
        path: Folder of the cache.
        mode: 'exact': features of exactly the tensors that the student sees, of ``variants``
            augmentations of each sample. 'warp': features of the whole picture and of its mirror
            image, moved as augmentation moves the picture; approximate, and measured.
        variants: Augmentations per sample in exact mode.
        seed: Of these augmentations.
        storage: See :func:`mmkd.distill.cache.codec.parse_storage`.
        canvas: Warp mode: (h, w) of the pictures whose features are stored, or a factor on the
            student's input.
        threshold: Warp mode: training refuses a mean cosine with the live teacher below this.
        verify: Pictures that are compared at the start of every training; 1 or more.
        missing: What to do about records that are not there, or damaged: compute them 'live',
            'build' them before training starts (with mmkd.TrackRunner), or 'refuse'.

    Raises:
        MMKDError: An option is wrong, or the teacher changes during training.
    """

    def __init__(
        self,
        teacher: Union[dict, Teacher],
        path: str,
        mode: str = EXACT,
        variants: int = 4,
        seed: int = 0,
        storage: str = 'bf16',
        canvas: Union[float, Tuple[int, int]] = 1.25,
        threshold: float = 0.95,
        verify: int = 8,
        missing: str = 'live',
    ):
        super().__init__()
        if not isinstance(teacher, Teacher):
            teacher = MODELS.build(copy.deepcopy(dict(teacher)))
        _check(teacher, path, mode, variants, verify, missing, threshold)
        self.storage = parse_storage(storage)
        self.storage_name = storage
        self.inner = teacher
        self.path, self.mode, self.seed, self.canvas = path, mode, seed, canvas
        self.variants = variants if mode == EXACT else 2
        self.threshold, self.verify, self.missing = threshold, verify, missing
        self.is_random = teacher.is_random
        self.manifest: Optional[Manifest] = None
        self.codecs = nn.ModuleDict()
        self._opened = False
        self._comparison: Optional[Comparison] = None
        self._told = 0

    # The wrapped teacher's.

    @property
    def channels(self) -> Dict[str, int]:
        return self.inner.channels

    @property
    def strides(self) -> Dict[str, int]:
        return self.inner.strides

    def describe(self) -> str:
        return f"{self.inner.describe()}, from the cache '{self.path}' ({self.mode})"

    def bind(self, student: nn.Module) -> None:
        self.inner.bind(student)

    def check(self, names: Sequence[str]) -> None:
        self.inner.check(names)

    def request(self, names: Sequence[str]) -> None:
        self.inner.request(names)
        self._requested = self.inner._requested

    def picture_size(self, size: Tuple[int, int]) -> Tuple[int, int]:
        return self.inner.picture_size(size)

    def target_size(self, size: Tuple[int, int]) -> Tuple[int, int]:
        return self.inner.target_size(size)

    def extent(self, size: Tuple[int, int]) -> Tuple[float, float]:
        return self.inner.extent(size)

    def identity(self) -> Fingerprint:
        """The wrapped teacher's: with or without a cache it is the same one."""
        if self.inner.loaded:
            return self.inner.identity()
        if self.manifest is not None:
            return self.manifest.teacher
        return self.inner.identity()

    # Its life.

    @property
    def loaded(self) -> bool:
        """Whether it can answer."""
        return self._opened

    @property
    def comparing(self) -> bool:
        """Whether the live teacher still runs beside the cache."""
        return self._comparison is not None and self._comparison.left > 0

    def data_needs(self) -> Dict[str, Any]:
        """What the training set must be wrapped in: arguments of ``mmkd.ReplayDataset``."""
        needs: Dict[str, Any] = dict(mode=self.mode)
        if self.mode == EXACT:
            needs.update(variants=self.variants, seed=self.seed)
        return dict(needs, cache=self.path if exists(self.path) else None)

    def load(
        self, device: Optional[torch.device] = None, dtype: Optional[torch.dtype] = None
    ) -> CachedTeacher:
        """Opens the cache, and loads the wrapped teacher to compare it with.

        Raises:
            MMKDError: The cache is of another teacher, other taps or other options; or there is
                none and ``missing='refuse'``.
        """
        if self._opened:
            return self.to(device) if device is not None else self
        self.inner.load(device, dtype)
        if exists(self.path):
            self.manifest = Manifest.load(self.path)
            refuse(self.path, differences(self.manifest, **self.settings()), 'teacher')
            self.codecs = load_codecs(self.path, self.manifest, self.inner.channels)
            self._comparison = Comparison(self.path, self.manifest, self.threshold, self.verify)
        elif self.missing == 'refuse':
            Manifest.load(self.path)
        elif self.missing == 'build':
            raise MMKDError(
                f"CachedTeacher: missing='build' builds '{self.path}' before training starts, "
                "which runner_type='mmkd.TrackRunner' does. Use it, or build with: "
                'python tools/cache_teacher.py CONFIG'
            )
        else:
            self._tell('there is no cache yet')
        self._opened = True
        return self.to(device) if device is not None else self

    def settings(self) -> Dict[str, Any]:
        """What a cache of this teacher says of itself, as far as the teacher knows."""
        return dict(
            mode=self.mode,
            storage=self.storage_name,
            features=self.inner._requested,
            teacher=self.inner.identity(),
        )

    def release(self) -> None:
        """Lets go of the wrapped teacher's network and of the cache."""
        self.inner.release()
        self._opened, self.manifest, self.codecs = False, None, nn.ModuleDict()

    # Its answers.

    def launch(self, images: batches.Images, data_samples: Optional[Sequence] = None) -> Pending:
        """Reads what the samples carry.

        Args:
            images: As the wrapped teacher takes them; looked at only by the comparison at the
                start, and where a record is missing.
            data_samples: They carry records of the cache.

        Returns:
            What the wrapped teacher gives, in float32 or the stored type.

        Raises:
            MMKDError: The samples carry nothing; a record is missing and ``missing='refuse'``;
                the cache is not what the live teacher gives.
        """
        with torch.no_grad():
            if not self._opened:
                self.load(batches.device_of(images))
            if self.manifest is None:
                return self.inner.launch(images, data_samples)
            records = self._records(data_samples)
            usable = [n for n, r in enumerate(records) if self._usable(r, images)]
            if len(usable) < len(records):
                absent = set(range(len(records))) - set(usable)
                self._complain([records[n] for n in sorted(absent)], images)
            stored = self._stored(usable, records, images, data_samples)
            if self.comparing and usable:
                self._compare(usable, stored, images, data_samples)
            if len(usable) == len(records):
                return Pending(stored)
            return Pending(self._mixed(usable, stored, images, data_samples))

    def read(self, inputs: batches.Images, data_samples: Optional[Sequence] = None) -> Pending:
        """Another name of :meth:`launch`; see :class:`mmkd.BatchTeacher`."""
        return self.launch(inputs, data_samples)

    @property
    def reads_all(self) -> bool:
        """Whether the wrapped teacher reads all that the student reads, not one image."""
        return hasattr(self.inner, 'read')

    def _records(self, data_samples: Optional[Sequence]) -> List[StoredRecord]:
        found = [
            (sample.get(FIELD) or {}).get(self.path) if hasattr(sample, 'get') else None
            for sample in data_samples or ()
        ]
        if not found or any(record is None for record in found):
            raise MMKDError(
                f"The training samples carry nothing of the cache '{self.path}'. A config's "
                "runner_type='mmkd.TrackRunner' sees to it; with another runner the training set "
                "is dict(type='mmkd.ReplayDataset', dataset=..., "
                f'{", ".join(f"{k}={v!r}" for k, v in self.data_needs().items())}).'
            )
        return found

    def _usable(self, record: StoredRecord, images: batches.Images) -> bool:
        if record.tensors is None:
            return False
        return self.mode == WARP or tuple(record.picture) == batches.picture_size(images)

    def _stored(
        self,
        usable: List[int],
        records: List[StoredRecord],
        images: batches.Images,
        data_samples: Sequence,
    ) -> Dict[str, Tensor]:
        """The features of these samples, as the wrapped teacher would give them."""
        if not usable:
            return {}
        device = batches.device_of(images)
        ready = [records[n] for n in usable]
        stored = {
            name: self.codecs[name].decode(batches.gather(ready, name, device))
            for name in self._requested
        }
        if self.mode != WARP:
            return stored
        samples = [data_samples[n] for n in usable]
        size = batches.picture_size(images)
        return move(stored, self.inner, self.manifest.canvas, size, samples)

    def _mixed(
        self,
        usable: List[int],
        stored: Dict[str, Tensor],
        images: batches.Images,
        data_samples: Sequence,
    ) -> Dict[str, Tensor]:
        count = len(data_samples)
        absent = sorted(set(range(count)) - set(usable))
        live = self._live(absent, images, data_samples)
        if not stored:
            return live
        out = {}
        for name in self._requested:
            there, here = stored[name], live[name]
            frames = len(here) // len(absent)
            whole = here.new_empty((count * frames, *here.shape[1:]), dtype=torch.float32)
            for part, samples in ((there, usable), (here, absent)):
                rows = torch.tensor(batches.rows_of(samples, frames), device=whole.device)
                whole.index_copy_(0, rows, part.float())
            out[name] = whole
        return out

    def _live(
        self, samples: List[int], images: batches.Images, data_samples: Sequence
    ) -> Dict[str, Tensor]:
        self.inner.load(batches.device_of(images))
        some = batches.take(images, samples, len(data_samples))
        return self.inner.launch(some, [data_samples[n] for n in samples]).wait()

    # Whether the cache lies.

    def _compare(
        self,
        usable: List[int],
        stored: Dict[str, Tensor],
        images: batches.Images,
        data_samples: Sequence,
    ) -> None:
        chosen = usable[: self._comparison.left]
        samples = [data_samples[n] for n in chosen]
        # As the cache was built: under the student's autocast a teacher without a dtype of its own
        # would round on its way.
        with torch.autocast(batches.device_of(images).type, enabled=False):
            live = self._live(chosen, images, data_samples)
        masks = None
        if self.mode == WARP:
            masks = masks_of(samples, images, self.extent(batches.picture_size(images)), live)
        some = {name: stored[name][: len(live[name])] for name in self._requested}
        self._comparison.add(some, live, len(chosen), masks)
        if self._comparison.left <= 0 and not self._told:
            self.inner.release()

    def _complain(self, records: List[StoredRecord], images: batches.Images) -> None:
        for record in records:
            problem = record.problem or (
                'the picture was {}x{} when it was built, but is {}x{} in this batch (padded to '
                'others?)'.format(*record.picture, *batches.picture_size(images))
            )
            if self.missing == 'refuse':
                raise MMKDError(
                    f"The cache '{self.path}' lacks a record: {problem}. "
                    "tools/cache_teacher.py CONFIG builds what is missing; missing='live' "
                    'computes it in training.'
                )
            self._tell(problem)

    def _tell(self, problem: str) -> None:
        self._told += 1
        if self._told <= _TOLD:
            print_log(
                f"The cache '{self.path}': {problem}. The teacher runs live there, which is slow; "
                'tools/cache_teacher.py CONFIG builds what is missing.',
                logger='current',
            )


def _check(
    teacher: Any, path: str, mode: str, variants: int, verify: int, missing: str, threshold: float
) -> None:
    if not isinstance(teacher, Teacher) or isinstance(teacher, CachedTeacher):
        raise MMKDError(f'CachedTeacher wraps a teacher, but got a {type(teacher).__name__}.')
    if teacher.stateful:
        raise MMKDError(
            f'{type(teacher).__name__} changes during training: its features of today are none '
            'of tomorrow, and cannot be cached.'
        )
    if not isinstance(path, str) or not path:
        raise MMKDError(f'CachedTeacher: path= is the folder of the cache, but got {path!r}.')
    if mode not in MODES:
        raise MMKDError(f'CachedTeacher has no mode={mode!r}. {nearest(mode, MODES)}')
    if missing not in MISSING:
        raise MMKDError(f'CachedTeacher has no missing={missing!r}. {nearest(missing, MISSING)}')
    for name, value in (('variants', variants), ('verify', verify)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise MMKDError(
                f'CachedTeacher: {name} is a whole number, 1 or more, but got {value!r}.'
            )
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or threshold > 1:
        raise MMKDError(f'CachedTeacher: threshold is a cosine, but got {threshold!r}.')
