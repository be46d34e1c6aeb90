"""Pairs of frames: what may be in them, and what a seed decides."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.datasets.transforms import VisiblePairSampling
from mmkd.errors import MMKDError


def video_of(visible, video_id=0, boxes=None, **more):
    """A video's infos as a data set gives them to its pipeline."""
    n = len(visible)
    if boxes is None:
        boxes = np.tile(np.array([2, 3, 12, 23], np.float32), (n, 1))
    return {
        'video_id': video_id,
        'video_length': n,
        'frame_ids': range(n),
        'img_paths': [f'v{video_id}/{i}.jpg' for i in range(n)],
        'bboxes': boxes,
        'bboxes_isvalid': np.ones(n, bool),
        'visible': np.array(visible, bool),
        **more,
    }


def sample(transform, *videos, times=200):
    return [transform.transform(list(videos)) for _ in range(times)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.integers(0, 6),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_no_pair_has_a_frame_without_a_target(first, second, span, drop_template, seed):
    np.random.seed(seed)
    videos = [video_of(first, 0), video_of(second, 1)]
    transform = VisiblePairSampling(span, pos_prob=0.5, filter_template_img=drop_template)
    pair = transform.transform(videos)
    if not any(first) and not any(second):
        assert pair is None
        return
    for video, frame, path in zip(pair['video_id'], pair['frame_id'], pair['img_path']):
        assert videos[video]['visible'][frame]
        assert path == f'v{video}/{frame}.jpg'
    template, search = pair['frame_id']
    labels = [int(instances[0]['bbox_label']) for instances in pair['instances']]
    is_same = pair['video_id'][0] == pair['video_id'][1]
    assert labels == [int(is_same)] * 2
    assert pair['video_length'] == [len(videos[v]['visible']) for v in pair['video_id']]
    if is_same:
        visible = np.flatnonzero(videos[pair['video_id'][0]]['visible'])
        near = [f for f in visible if abs(f - template) <= span]
        assert search in near
        if drop_template and len(near) > 1:
            assert search != template


@pytest.mark.parametrize(
    'box',
    [[5, 5, 5, 9], [5, 5, 9, 5], [5, 5, 2, 9], [np.nan] * 4, [0, 0, np.inf, 4], [0, 0, np.nan, 4]],
)
def test_degenerate_boxes_are_never_taken(box):
    boxes = np.tile(np.array([2, 3, 12, 23], np.float32), (4, 1))
    boxes[[0, 2]] = box
    # Even where the data set itself claims that all is well.
    video = video_of([True] * 4, boxes=boxes)
    pairs = sample(VisiblePairSampling(5, pos_prob=1), video, video)
    assert {frame for pair in pairs for frame in pair['frame_id']} == {1, 3}


def test_every_frame_in_reach_is_taken_both_ends_included():
    video = video_of([1, 1, 0, 1, 1, 1])
    pairs = sample(VisiblePairSampling([-1, 2], pos_prob=1), video, video, times=600)
    found = {tuple(pair['frame_id']) for pair in pairs}
    visible = [0, 1, 3, 4, 5]
    assert found == {(t, s) for t in visible for s in visible if -1 <= s - t <= 2}


def test_one_visible_frame_is_a_pair_with_itself():
    video = video_of([0, 0, 1, 0])
    pair = VisiblePairSampling(1, 1.0, filter_template_img=True).transform([video, video])
    assert pair['frame_id'] == [2, 2]


def test_one_target_is_never_told_to_be_two():
    video = video_of([1, 1, 1])
    for pair in sample(VisiblePairSampling(3, pos_prob=0), video, video):
        assert int(pair['instances'][0][0]['bbox_label']) == 1


def test_the_share_of_positive_pairs():
    videos = video_of([1] * 9, 0), video_of([1] * 9, 1)
    np.random.seed(0)
    pairs = sample(VisiblePairSampling(9, pos_prob=0.8), *videos, times=2000)
    share = np.mean([int(pair['instances'][1][0]['bbox_label']) for pair in pairs])
    assert 0.77 < share < 0.83
    negative = next(p for p in pairs if not p['instances'][0][0]['bbox_label'])
    assert negative['video_id'] == [0, 1]


def test_small_or_hardly_visible_targets_on_request():
    boxes = np.array([[0, 0, 4, 9], [0, 0, 5, 9], [0, 0, 9, 9]], np.float32)
    video = video_of([1, 1, 1], boxes=boxes, visible_ratio=np.array([1, 0.25, 0.5]))
    frames = VisiblePairSampling(min_size=4).usable_frames(video)
    assert frames.tolist() == [1, 2]
    frames = VisiblePairSampling(min_size=4, min_visible_ratio=0.5).usable_frames(video)
    assert frames.tolist() == [2]


def test_the_seed_decides():
    videos = video_of([1] * 50, 0), video_of([1] * 50, 1)

    def draw(seed):
        np.random.seed(seed)
        random.seed(1000 - seed)  # it must not matter
        return [(p['video_id'], p['frame_id']) for p in sample(VisiblePairSampling(9), *videos)]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'frame_range': [1, 5]}, 'frame_range'),
        ({'frame_range': [-5, 0, 5]}, 'frame_range'),
        ({'frame_range': -3}, 'frame_range'),
        ({'pos_prob': 1.5}, 'pos_prob is 0 to 1'),
        ({'min_visible_ratio': -1}, 'min_visible_ratio is 0 to 1'),
    ],
)
def test_impossible_numbers_are_refused(options, message):
    with pytest.raises(MMKDError, match=message):
        VisiblePairSampling(**options)


def test_it_is_what_a_config_can_name():
    from mmengine.registry import TRANSFORMS

    transform = TRANSFORMS.build({'type': 'mmkd.VisiblePairSampling', 'frame_range': 7})
    assert 'frame_range=[-7, 7], pos_prob=0.8' in repr(transform)
