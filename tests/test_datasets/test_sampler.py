"""Videos stay whole, every frame is seen once, and too many processes are no error.

Clips stand together and in step with the batches, in another order in each epoch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mmkd.datasets import sampler as module
from mmkd.datasets.sampler import ClipSampler, VideoSampler
from mmkd.errors import MMKDError
from mmkd.registry import DATA_SAMPLERS

from .mot_folder import make_sequence


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


class Frames:
    """Videos given as lists of frame ids; None stands for an image without a video."""

    def __init__(self, videos, folder='data'):
        self.infos = []
        for number, video in enumerate(videos):
            for frame in [0] if video is None else video:
                info = dict(img_path=f'{folder}/{number}/{frame}.jpg')
                if video is not None:
                    info.update(video_id=number, frame_id=frame)
                self.infos.append(info)

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]

    def __getitem__(self, index):
        return index


def clip_samplers(dataset, world_size=1, **kwargs):
    with pytest.MonkeyPatch.context() as patch:
        samplers = []
        for rank in range(world_size):
            patch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, world_size))
            samplers.append(ClipSampler(dataset, **{'seed': 3, **kwargs}))
        return samplers


def is_clip(dataset, clip, max_gap):
    infos = [dataset.get_data_info(index) for index in clip]
    if any('video_id' not in info for info in infos):
        return False
    gaps = [b['frame_id'] - a['frame_id'] for a, b in zip(infos, infos[1:])]
    folders = {(info['video_id'], info['img_path'].rsplit('/', 1)[0]) for info in infos}
    return len(folders) == 1 and all(1 <= gap <= max_gap for gap in gaps)


VIDEOS = st.lists(
    st.one_of(
        st.none(),
        st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True).map(sorted),
    ),
    min_size=1,
    max_size=6,
)


@given(VIDEOS, st.integers(2, 4), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2))
def test_clips_every_frame_once_in_step_with_batches(videos, frames, gap, world_size, epoch):
    dataset = Frames(videos)
    # By hand: how often frames that are close enough stand in a row.
    runs = []
    for video in (video for video in videos if video is not None):
        runs.append(1)
        for a, b in zip(video, video[1:]):
            runs[-1:] = [runs[-1] + 1] if b - a <= gap else [runs[-1], 1]
    wanted = sum(run // frames for run in runs)
    if not wanted:
        with pytest.raises(MMKDError, match='within max_gap'):
            ClipSampler(dataset, frames, gap, seed=0)
        return
    samplers = clip_samplers(dataset, world_size, frames=frames, max_gap=gap)
    shares = []
    for sampler in samplers:
        sampler.set_epoch(epoch)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler) == len(shares[0])
        assert len(sampler) % frames == 0
    merged = [index for share in shares for index in share]
    assert set(merged) == set(range(len(dataset)))
    # What is there twice fills up the last group and makes the shares equal, no more.
    assert len(merged) - len(dataset) < frames * world_size
    clips = [tuple(share[i : i + frames]) for share in shares for i in range(0, len(share), frames)]
    good = {clip for clip in clips if is_clip(dataset, clip, gap)}
    assert len(good) >= wanted
    in_clips = [index for clip in good for index in clip]
    if len(good) == wanted:
        assert len(in_clips) == len(set(in_clips))


def test_clips_of_the_processes_differ_unless_rounded_up():
    dataset = Frames([range(10), range(7), None])
    one, two = clip_samplers(dataset, 2, round_up=False)
    assert sorted(list(one) + list(two)) == list(range(18))
    three = clip_samplers(dataset, 2, frames=3, round_up=False)
    assert [len(sampler) for sampler in three] == [9, 9]
    assert len({*three[0], *three[1]}) == 18
    four = clip_samplers(dataset, 2, frames=4, round_up=False)
    assert [len(sampler) for sampler in four] == [12, 8]


def test_clips_change_with_epoch_and_seed_only():
    dataset = Frames([range(30), range(30)])
    (sampler,) = clip_samplers(dataset)
    first = list(sampler)
    assert list(sampler) == first == list(clip_samplers(dataset)[0])
    assert list(clip_samplers(dataset, seed=4)[0]) != first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert sorted(sampler) == sorted(first)
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_clips_have_all_gaps():
    dataset = Frames([range(200)])
    (sampler,) = clip_samplers(dataset, max_gap=4)
    order = list(sampler)
    assert {b - a for a, b in zip(order[::2], order[1::2])} == {1, 2, 3, 4}


def test_unshuffled_clips_keep_the_order():
    (sampler,) = clip_samplers(Frames([range(5), range(4)]), shuffle=False)
    sampler.set_epoch(1)
    assert list(sampler) == [0, 1, 2, 3, 5, 6, 7, 8, 4, 0]


def test_clips_are_whole_in_the_batches_of_a_loader():
    dataset = Frames([range(9), None, range(6)])
    (sampler,) = clip_samplers(dataset, max_gap=2)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=0)
    clips = [batch[i : i + 2].tolist() for batch in loader for i in range(0, len(batch), 2)]
    assert len(clips) == 8
    assert sum(is_clip(dataset, clip, 2) for clip in clips) == 7


def test_videos_of_a_mixture_and_of_a_repeated_data_set_are_kept_apart():
    first, second = Frames([range(6)], 'a'), Frames([range(6)], 'b')
    mixture = Frames([])
    mixture.infos = first.infos + second.infos + first.infos
    (sampler,) = clip_samplers(mixture, frames=3, max_gap=9)
    order = list(sampler)
    assert len(order) == 18
    for i in range(0, 18, 3):
        assert is_clip(mixture, order[i : i + 3], 9)


@pytest.mark.parametrize('mistake', [dict(frames=1), dict(frames=2.0), dict(max_gap=0)])
def test_wrong_numbers_are_told(mistake):
    with pytest.raises(MMKDError, match=next(iter(mistake))):
        ClipSampler(Frames([range(9)]), **mistake)


def test_what_clips_cannot_be_made_of_is_told():
    with pytest.raises(MMKDError, match='longest run has 1'):
        ClipSampler(Frames([None, None]), seed=0)
    with pytest.raises(MMKDError, match='key_img_sampler'):
        ClipSampler(Frames([range(0, 90, 10)]), max_gap=9, seed=0)
    with pytest.raises(MMKDError, match='list has no get_data_info'):
        ClipSampler([1, 2], seed=0)


def test_a_config_finds_it():
    sampler = DATA_SAMPLERS.build(dict(type='mmkd.ClipSampler', dataset=Frames([range(4)]), seed=0))
    assert isinstance(sampler, ClipSampler)


def test_a_batch_of_single_images_has_each_identity_several_times(tmp_path):
    pytest.importorskip('mmtrack')
    from mmengine.runner import Runner

    from mmkd.datasets.converters import convert
    from mmkd.distill.instances import collect_instances

    for name in 'ab':
        rows = [f'{k},{track},{9 * track},10,8,20,1,1,1' for k in range(1, 8) for track in (1, 2)]
        make_sequence(tmp_path / 'train', name, rows, frames=7)
    convert(str(tmp_path / 'train'), str(tmp_path / 'ann.json'))
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='mmkd.ClipSampler', frames=2, max_gap=3),
            dataset=dict(
                type='mmkd.MOTDataset',
                data_root=str(tmp_path),
                ann_file='ann.json',
                data_prefix=dict(img_path='train'),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='mmtrack.LoadTrackAnnotations', with_instance_id=True),
                    dict(type='mmtrack.PackTrackInputs', pack_single_img=True),
                ],
            ),
        ),
        seed=5,
    )
    batches = list(loader)
    assert [len(batch['data_samples']) for batch in batches] == [4, 4, 4, 2]
    twice = 0
    for batch in batches:
        count = len(batch['data_samples'])
        found = collect_instances(batch['data_samples'], count, (48, 64), torch.device('cpu'))
        assert found.counts == (2,) * count
        ids = found.ids.tolist()
        for clip in range(0, count, 2):
            twice += ids[2 * clip : 2 * clip + 2] == ids[2 * clip + 2 : 2 * clip + 4]
    # 7 frames make three clips; the last frames of both videos stand together.
    assert twice == 6
