"""Whole videos for each process."""

from __future__ import annotations

from typing import Iterator, List, Optional, Sized

from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmkd.registry import DATA_SAMPLERS


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
