"""Whole videos for each process, or clips of them for each batch."""

from __future__ import annotations

from typing import Iterator, List, Optional, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmkd.errors import MMKDError
from mmkd.registry import DATA_SAMPLERS

from .clip_order import cut_clips, find_runs


@DATA_SAMPLERS.register_module()
class VideoSampler(Sampler):
    """Deals whole videos out to the processes, for trackers, which need every frame in order.

    The longest video goes first, each to the process with the fewest frames so far, so that all
    end at about the same time. mmtrack's sampler refuses to run on more processes than there are
    videos (MOT17 has seven, a node often eight GPUs); here some processes have nothing to do.

    Args:
        dataset: Its ``get_data_info(i)`` has a ``video_id``; a video's frames stand together.
        seed: mmengine passes one; nothing is drawn here.
    """

    def __init__(self, dataset: Sized, seed: Optional[int] = None) -> None:
        rank, world_size = get_dist_info()
        videos: List[List[int]] = []
        last = object()
        for index in range(len(dataset)):
            video_id = dataset.get_data_info(index)['video_id']
            if video_id != last:
                videos.append([])
                last = video_id
            videos[-1].append(index)
        shares: List[List[int]] = [[] for _ in range(world_size)]
        # sorted() is stable, so every process deals the same way.
        for video in sorted(videos, key=len, reverse=True):
            min(shares, key=len).extend(video)
        self.indices = shares[rank]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


@DATA_SAMPLERS.register_module()
class ClipSampler(Sampler):
    """A training order in which frames of one video stand together.

    Losses that follow an identity through frames (:class:`mmkd.TemporalRelationalLoss`) see
    nothing in a shuffled batch of single images. Here ``frames`` successive entries are a clip:
    frames of one video in order, neighbours at most ``max_gap`` apart, their distance drawn anew
    for each clip. With a ``batch_size`` that is a multiple of ``frames`` every batch is made of
    whole clips. Clips are shuffled, and each frame is seen once in an epoch, as with mmengine's
    DefaultSampler, whose place this takes.

    What does not fill a clip (the rest of a video, videos of fewer frames, images without a
    video) is shuffled and fills up groups of the same length, so that clips stay in step with the
    batches; the last group is filled up with others.

    Args:
        dataset: Its ``get_data_info(i)`` has ``video_id`` and ``frame_id``; wrappers such as
            ConcatDataset too.
        frames: Of a clip, 2 or more.
        max_gap: Largest difference of the ``frame_id`` of neighbours in a clip.
        shuffle: False: the order of the data set, neighbours in the video, for debugging.
        seed: Of the order, the same for all processes; drawn and shared if None.
        round_up: Whether every process gets equally many clips, some of them twice.

    Raises:
        MMKDError: For a wrong number, or if no two frames of the data belong together.
    """

    def __init__(
        self,
        dataset: Sized,
        frames: int = 2,
        max_gap: int = 10,
        shuffle: bool = True,
        seed: Optional[int] = None,
        round_up: bool = True,
    ) -> None:
        for name, value, least in (('frames', frames, 2), ('max_gap', max_gap, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise MMKDError(
                    f'ClipSampler: {name} is a whole number, {least} or more, but got {value!r}.'
                )
        self.rank, self.world_size = get_dist_info()
        self.frames, self.max_gap, self.shuffle = frames, max_gap, shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self._runs = find_runs(dataset, max_gap)
        self.num_frames = sum(len(run.indices) for run in self._runs)
        longest = max((len(run.indices) for run in self._runs), default=0)
        if longest < frames:
            raise MMKDError(
                f'ClipSampler: no {frames} frames of a video are within max_gap={max_gap} of each '
                f'other in these {self.num_frames} images; the longest run has {longest}. Videos '
                'are known by video_id and frame_id (MOTDataset has them with '
                'load_as_video=True); a key_img_sampler of interval n needs max_gap=n at least.'
            )
        total = -(-self.num_frames // frames)
        if round_up:
            self._share = -(-total // self.world_size)
        else:
            self._share = len(range(self.rank, total, self.world_size))
        self._total = self._share * self.world_size if round_up else total

    def clips(self) -> np.ndarray:
        """(clips, frames) long: this epoch's clips of all processes, in order."""
        random = np.random.default_rng((self.seed, self.epoch)) if self.shuffle else None
        parts = [cut_clips(run, self.frames, self.max_gap, random) for run in self._runs]
        order, rest = (np.concatenate(part) for part in zip(*parts))
        if random is not None:
            rest = random.permutation(rest)
        missing = -len(rest) % self.frames
        rest = np.concatenate([rest, order.reshape(-1)[:missing]])
        order = np.concatenate([order, rest.reshape(-1, self.frames)])
        if random is not None:
            order = random.permutation(order)
        # As in DefaultSampler, the beginning once more makes the processes' shares equal.
        return order[np.arange(self._total) % len(order)]

    def __iter__(self) -> Iterator[int]:
        return iter(self.clips()[self.rank :: self.world_size].reshape(-1).tolist())

    def __len__(self) -> int:
        return self._share * self.frames

    def set_epoch(self, epoch: int) -> None:
        """Draws another order; mmengine calls it before every epoch."""
        self.epoch = epoch
