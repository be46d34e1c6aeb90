"""Training samples whose augmentation can be drawn again, and what a cache has for them."""

from __future__ import annotations

import copy
import time
from typing import Any, Dict, Optional, Sequence, Union

import torch
from mmengine.logging import print_log
from torch import nn

from mmkd.distill.cache.manifest import EXACT, MODES, differences, refuse
from mmkd.distill.cache.reader import CacheReader
from mmkd.distill.cache.record import FIELD, StoredRecord
from mmkd.distill.cache.warp import variant_of
from mmkd.errors import MMKDError, nearest
from mmkd.registry import DATASETS

from .build_cache import Settings, Sources, build, plan
from .data_identity import Known, identify_records
from .file_identity import identify_files_kept, remember_files
from .pipeline_identity import identify_pipeline
from .replay_random import replayed

_NONE = -1


@DATASETS.register_module()
class ReplayDataset:
    """A wrapper around a training set that gives each sample one of K augmentations.

    Which one is drawn is decided by a seed, the sample's number and the variant's, so that a
    variant is the same tensor in every process, worker, epoch and run; a cache of a teacher's
    features is exact for it. K is the price: augmentations come back after K epochs. In epoch e a
    sample shows its variant ``(e + sample) % K``; where nobody tells the epoch
    (:meth:`set_epoch`; :class:`mmkd.EpochSeedHook` does), a random one.

    With ``mode='warp'`` augmentation is as random as ever, and a cache has features of the
    picture itself.

    A sample's metainfo has ``replay=(sample, variant)``; with ``cache``, the sample carries what
    the cache has for it, read in the data loader's worker.

    Args:
        dataset: A training set or its config; wrappers such as ConcatDataset too.
        variants: K.
        seed: Of the augmentations.
        mode: 'exact' or 'warp'.
        cache: Folder of a cache to read, or several. Their data set, augmentation, seed and K
            must be these.

    Raises:
        MMKDError: An option is wrong; when samples are first needed, that the cache is of other
            data or another augmentation, or that the pipeline draws random numbers that no seed
            controls.
    """

    def __init__(
        self,
        dataset: Any,
        variants: int = 1,
        seed: int = 0,
        mode: str = EXACT,
        cache: Union[None, str, Sequence[str]] = None,
    ):
        for name, value, least in (('variants', variants, 1), ('seed', seed, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise MMKDError(
                    f'ReplayDataset: {name} is a whole number, {least} or more, but got {value!r}.'
                )
        if mode not in MODES:
            raise MMKDError(f'ReplayDataset has no mode={mode!r}. {nearest(mode, MODES)}')
        self.dataset = DATASETS.build(copy.deepcopy(dataset)) if _is_config(dataset) else dataset
        if isinstance(self.dataset, ReplayDataset):
            raise MMKDError('A ReplayDataset cannot be within another one.')
        self.variants, self.seed, self.mode = variants, seed, mode
        self.caches = [cache] if isinstance(cache, str) else list(cache or ())
        # Shared, so that workers which live through many epochs see it change.
        self._epoch = torch.full((1,), _NONE, dtype=torch.int64).share_memory_()
        self._readers: Dict[str, CacheReader] = {}
        self._ready = False
        # Labels of identities are moved on later, and are none of what a teacher sees.
        self._records = ''
        self._known: Known = {}

    # What it is.

    @property
    def metainfo(self) -> dict:
        """The data set's."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Loads the annotations; opens the cache and sees that it is of these data."""
        if self._ready:
            return
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        if self.mode == EXACT:
            self.check_replay()
        for cache in self.caches:
            self.open(cache)
        self._ready = True

    def open(self, cache: str) -> None:
        """Opens a cache.

        Raises:
            MMKDError: There is none, or it is of something else.
        """
        reader = CacheReader(cache)
        words = differences(reader.manifest, **self.identity(cache))
        kept = reader.layout.variants
        if self.mode == EXACT and kept != self.variants:
            words.append(f'variants was {kept} and is {self.variants}.')
        refuse(cache, words, 'training set')
        self._readers[cache] = reader
        built = reader.layout.shards - len(reader.missing())
        print_log(
            f"The cache '{cache}' has {built} of {reader.layout.shards} shards "
            f'({self.mode} mode, {self.variants} variant(s) of {len(self)} samples).',
            logger='current',
        )

    def identity(self, cache: Optional[str] = None) -> Dict[str, Any]:
        """What a cache must be of, as fields of its manifest.

        Args:
            cache: Its folder, which remembers files that were read before.
        """
        if not self._records:
            self._records = identify_records(self.dataset)
        pictures, self._known = identify_files_kept(self.dataset, cache, self._known)
        same: Dict[str, Any] = {
            'mode': self.mode,
            'data': {
                'number of samples': str(len(self)),
                'annotations': self._records,
                'pictures': pictures,
            },
        }
        if self.mode == EXACT:
            same.update(seed=self.seed, augmentation=identify_pipeline(self.dataset))
        return same

    def remember(self, cache: str) -> None:
        """Leaves in a cache what is known of files, so that the next start need not read them."""
        remember_files(cache, self._known)

    def check_replay(self) -> None:
        """Draws the first sample's first variant twice.

        Raises:
            MMKDError: They differ.
        """
        if not len(self.dataset):
            return
        first, second = self.draw(0, 0), self.draw(0, 0)
        if not _equal(first.get('inputs'), second.get('inputs')):
            raise MMKDError(
                'This training pipeline cannot be replayed: drawn twice from one seed, sample 0 '
                'is two different pictures. One of its transforms has a random generator of its '
                "own, or reads a clock. Use Python's, NumPy's or torch's global generator in it, "
                "or cache with mode='warp', which replays nothing."
            )

    def build_cache(
        self,
        teacher: Any,
        preprocessor: nn.Module,
        image_key: str = 'img',
        device: Optional[torch.device] = None,
        start: float = 0.0,
    ) -> None:
        """Builds what a cached teacher lacks and opens its cache.

        Args:
            teacher: A :class:`mmkd.CachedTeacher`.
            preprocessor: The student's.
            image_key: Which of the student's inputs the teacher sees.
            device: Where it runs.
            start: Share of the shards that this process leaves to others at first.
        """
        self.full_init()
        sources = Sources(self, teacher, preprocessor, image_key)
        settings = Settings(device=device or torch.device('cpu'), start=start)
        planned = plan(sources, settings)
        build(sources, settings, planned)
        while CacheReader(teacher.path).missing():
            # The rest is in the hands of other processes; should one die, its part is ours.
            time.sleep(1.0)
            build(sources, settings, planned)
        self.open(teacher.path)

    # Samples.

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not self._ready:
            self.full_init()
        variant = self.variant_of(index)
        results = self.draw(index, variant)
        sample = results.get('data_samples') if isinstance(results, dict) else None
        if sample is None or not hasattr(sample, 'set_field'):
            raise MMKDError(
                'ReplayDataset: the pipeline gives no data_samples to say which augmentation this '
                'is. It must end with a Pack...Inputs transform.'
            )
        sample.set_metainfo(dict(replay=(index, variant)))
        if self._readers:
            # By cache: a run may have several cached teachers.
            found = {
                path: self._read(reader, index, variant, sample)
                for path, reader in self._readers.items()
            }
            sample.set_field(found, FIELD)
        return results

    def draw(self, index: int, variant: int) -> Any:
        """A sample's variant; in warp mode, a random one."""
        if self.mode != EXACT:
            return self.dataset[index]
        with replayed(self.seed, index, variant):
            return self.dataset[index]

    def variant_of(self, index: int) -> int:
        """The one that a sample shows now."""
        if self.variants == 1 or self.mode != EXACT:
            return 0
        epoch = int(self._epoch)
        if epoch == _NONE:
            return int(torch.randint(self.variants, ()))
        return (epoch + index) % self.variants

    def set_epoch(self, epoch: int) -> None:
        """Moves on to the variants of an epoch, in this process and in workers that it started."""
        self._epoch.fill_(epoch)

    def _read(self, reader: CacheReader, index: int, variant: int, sample: Any) -> StoredRecord:
        if self.mode == EXACT:
            return reader.read(index, variant)
        return reader.read(index, variant_of(sample))

    def get_data_info(self, index: int) -> dict:
        """The data set's."""
        return self.dataset.get_data_info(index)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('_') or 'dataset' not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _is_config(dataset: Any) -> bool:
    return isinstance(dataset, dict) and 'type' in dataset


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return set(first) == set(second) and all(_equal(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(_equal, first, second))
    if torch.is_tensor(first):
        return torch.equal(first, second)
    return bool(first == second)
