"""Videos stay whole, every frame is seen once, and too many processes are no error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkd.datasets import sampler as module
from mmkd.datasets.sampler import VideoSampler


class Videos:
    def __init__(self, lengths):
        self.frames = [video for video, length in enumerate(lengths) for _ in range(length)]

    def __len__(self):
        return len(self.frames)

    def get_data_info(self, index):
        return dict(video_id=self.frames[index])


def deal(lengths, world_size):
    dataset, shares = Videos(lengths), []
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(world_size):
            patch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, world_size))
            sampler = VideoSampler(dataset, seed=0)
            assert len(sampler) == len(list(sampler))
            shares.append(list(sampler))
    return dataset, shares


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 9))
def test_every_frame_once_and_videos_whole_and_in_order(lengths, world_size):
    dataset, shares = deal(lengths, world_size)
    assert sorted(index for share in shares for index in share) == list(range(len(dataset)))
    owner = {}
    for rank, share in enumerate(shares):
        for index in share:
            assert owner.setdefault(dataset.frames[index], rank) == rank
        for video in {dataset.frames[index] for index in share}:
            own = [index for index in share if dataset.frames[index] == video]
            assert own == list(range(own[0], own[0] + len(own)))
            # Its frames follow one another without another video between them.
            start = share.index(own[0])
            assert share[start : start + len(own)] == own


def test_seven_videos_on_eight_processes():
    _, shares = deal([5] * 7, 8)
    assert sorted(map(len, shares)) == [0] + [5] * 7


def test_the_work_is_balanced():
    _, shares = deal([2, 9, 3, 4], 2)
    assert sorted(map(len, shares)) == [9, 9]
