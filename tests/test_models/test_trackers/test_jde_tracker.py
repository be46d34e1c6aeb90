from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd.errors import MMKDError
from mmkd.models.trackers import JDETracker
from mmkd.registry import MODELS

RED, GREEN, BLUE = np.eye(3)


def feed(tracker, frame, boxes=(), looks=(), scores=None, labels=None, fps=None):
    """One frame of hand-made detections; returns {id: box}."""
    count = len(boxes)
    result = tracker.track(
        frame_id=frame,
        bboxes=torch.tensor(np.array(boxes), dtype=torch.float32).reshape(count, 4),
        scores=torch.tensor([0.9] * count if scores is None else scores),
        labels=torch.tensor([0] * count if labels is None else labels, dtype=torch.long),
        embeddings=torch.tensor(np.array(looks), dtype=torch.float32).reshape(count, 3),
        fps=fps,
    )
    assert result.instances_id.dtype == result.labels.dtype == torch.int64
    return dict(zip(result.instances_id.tolist(), result.bboxes.numpy()))


def known(tracker):
    """Ids of all tracks that the tracker remembers."""
    return [] if tracker._tracks is None else sorted(tracker._tracks.ids.tolist())


def box(x, y=100, w=40, h=100):
    return [x, y, x + w, y + h]


# ---------------------------------------------------------------- stage by stage


def test_first_frame_is_confirmed_at_once_and_later_ones_by_a_second_match():
    tracker = JDETracker()
    assert set(feed(tracker, 0, [box(0)], [RED])) == {1}
    assert set(feed(tracker, 1, [box(0), box(300)], [RED, BLUE])) == {1}
    assert set(feed(tracker, 2, [box(0), box(300)], [RED, BLUE])) == {1, 2}


def test_stage_1_appearance_decides_where_motion_allows_both():
    tracker = JDETracker()
    feed(tracker, 0, [box(0), box(20)], [RED, BLUE])
    tracks = feed(tracker, 1, [box(20), box(0)], [RED, BLUE])
    assert tracks[1][0] > 5
    assert tracks[2][0] < 15


def test_stage_1_motion_forbids_a_jump_of_the_same_look():
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED])
    assert feed(tracker, 1, [box(400)], [RED]) == {}


def test_stage_2_overlap_saves_a_changed_look():
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED])
    assert set(feed(tracker, 1, [box(3)], [BLUE])) == {1}
    # 1 - IoU of boxes of width 40 that are 14 apart is 0.52: over the limit.
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED])
    assert feed(tracker, 1, [box(14)], [BLUE]) == {}


def test_stage_2_is_not_for_lost_tracks():
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED])
    assert feed(tracker, 1) == {}
    assert feed(tracker, 2, [box(0, h=96)], [BLUE]) == {}
    # while stage 1 brings it back
    assert set(feed(tracker, 3, [box(0)], [RED])) == {1}


def test_stage_3_unconfirmed_tracks_meet_by_overlap_only_and_with_a_looser_limit():
    tracker = JDETracker()
    feed(tracker, 0)
    feed(tracker, 1, [box(0)], [RED])
    # 1 - IoU of 20 px apart is 0.67: too far for stage 2, near enough for stage 3.
    assert set(feed(tracker, 2, [box(20)], [BLUE])) == {1}


def test_stage_3_an_unconfirmed_track_that_is_not_seen_again_is_removed():
    tracker = JDETracker()
    feed(tracker, 0)
    feed(tracker, 1, [box(0)], [RED])
    feed(tracker, 2)
    feed(tracker, 3, [box(0)], [RED])
    assert set(feed(tracker, 4, [box(0)], [RED])) == {2}


def test_stage_3_an_unconfirmed_track_is_not_predicted_before_it_is_corrected():
    """Height 100: a new track's x has variance 10^2, a measurement's 5^2; 100 / 125 = 0.8.

    Predicting first would add the velocity's 6.25^2 and 5^2: 164.1 / 189.1 = 0.868.
    """
    tracker = JDETracker()
    feed(tracker, 0)
    feed(tracker, 1, [box(0)], [RED])
    assert feed(tracker, 2, [box(10)], [RED])[1][0] == pytest.approx(8)
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED])
    assert feed(tracker, 1, [box(10)], [RED])[1][0] == pytest.approx(10 * 164.0625 / 189.0625)


def test_overlap_counts_whole_pixels():
    """4 x 4 boxes 1.5 apart: 3.5 * 5 of 32.5 pixels, 1 - IoU 0.46; of continuous ones 0.55."""
    tracker = JDETracker()
    feed(tracker, 0, [box(0, w=4, h=4)], [RED])
    assert set(feed(tracker, 1, [box(1.5, w=4, h=4)], [BLUE])) == {1}


def test_the_look_is_a_moving_average_of_unit_length():
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED * 7])
    feed(tracker, 1, [box(0)], [BLUE * 3])
    length = np.hypot(0.9, 0.1)
    np.testing.assert_allclose(tracker._tracks.embeddings, [[0.9 / length, 0, 0.1 / length]])


def test_a_lost_track_moves_on_but_its_height_does_not():
    tracker = JDETracker()
    for frame in range(10):
        feed(tracker, frame, [box(5 * frame, w=40 + 2 * frame, h=100 + 5 * frame)], [RED])
    states = []
    for frame in range(10, 13):
        feed(tracker, frame)
        states.append(tracker._tracks.mean[0].copy())
    assert states[0][3] > 146  # It was still a tracked one when this frame began.
    assert states[0][3] == states[1][3] == states[2][3]
    np.testing.assert_allclose(states[2][0] - states[1][0], states[1][0] - states[0][0])
    assert states[2][0] > states[1][0] + 3


PATIENCE = [(30, 30), (None, 30), (10, 10), (14.985, 14), (0.5, 0), (float('nan'), 30)]


def lose_and_find(unseen, fps=None):
    """A track that is seen once, not for some frames, and then again; the last frame's result."""
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED], fps=fps)
    for frame in range(1, unseen + 1):
        assert feed(tracker, frame, fps=fps) == {}
    return tracker, feed(tracker, unseen + 1, [box(0)], [RED], fps=fps)


@pytest.mark.parametrize(('fps', 'patience'), PATIENCE)
def test_a_lost_track_waits_for_a_second_of_video_and_is_a_candidate_once_more(fps, patience):
    """Its time is up in the frame after ``patience``, or after the one where it was lost."""
    last = max(patience, 1) + 1
    assert set(lose_and_find(last, fps)[1]) == {1}
    tracker, result = lose_and_find(last + 1, fps)
    assert result == {}
    assert known(tracker) == [2]


def test_a_track_that_was_found_on_its_last_chance_has_no_time_left():
    tracker, result = lose_and_find(30)
    feed(tracker, 32)
    assert known(tracker) == [1]  # Found in time: it waits again.
    tracker, result = lose_and_find(31)
    assert set(result) == {1}
    assert set(feed(tracker, 33, [box(0)], [RED])) == {1}
    assert feed(tracker, 34) == {}
    assert known(tracker) == []
    assert feed(tracker, 35, [box(0)], [RED]) == {}
    assert known(tracker) == [2]


@pytest.mark.parametrize(('offset', 'is_duplicate'), [(3, True), (4, False)])
def test_of_duplicates_the_shorter_lived_goes(offset, is_duplicate):
    """Boxes 41 pixels wide: 1 - IoU with the lost track is 6 / 44 or 8 / 45, the limit is 0.15."""
    tracker = JDETracker()
    for frame in range(5):
        feed(tracker, frame, [box(0)], [RED])
    feed(tracker, 5)
    # Its look keeps it from being the lost track again, so it starts a new one each time.
    assert feed(tracker, 6, [box(offset)], [BLUE]) == {}
    again = feed(tracker, 7, [box(offset)], [BLUE])
    assert len(again) == (0 if is_duplicate else 1)
    assert known(tracker) == ([1] if is_duplicate else [1, 2])


@pytest.mark.parametrize(('start', 'left'), [(0, [2]), (1, [1]), (2, [1])])
def test_of_duplicates_as_old_as_each_other_the_lost_one_stays(start, left):
    """Red lives from frame 0 to 5; in frame 6 blue, on the same spot, has lived 6, 5 or 4."""
    tracker = JDETracker()
    for frame in range(6):
        both = frame >= start
        feed(tracker, frame, [box(0), box(2)][: 1 + both], [RED, BLUE][: 1 + both])
    assert known(tracker) == [1, 2]
    feed(tracker, 6, [box(2)], [BLUE])
    assert known(tracker) == left


def test_of_duplicates_the_longer_lived_stays_though_it_is_new_to_the_place():
    tracker = JDETracker()
    feed(tracker, 0, [box(0, y=400)], [BLUE])
    feed(tracker, 1, [box(0, y=400), box(0)], [BLUE, RED])
    feed(tracker, 2, [box(0, y=400), box(0)], [BLUE, RED])
    feed(tracker, 3, [box(0, y=400)], [BLUE])  # red, id 2, is lost
    # Blue walks onto red's place; it has lived longer than red, which goes.
    for step, y in enumerate(range(390, 90, -10)):
        tracks = feed(tracker, 4 + step, [box(0, y=y)], [BLUE])
    assert set(tracks) == {1}
    assert known(tracker) == [1]


def test_classes_never_meet():
    tracker = JDETracker()
    feed(tracker, 0, [box(0), box(0)], [RED, RED], labels=[0, 1])
    tracks = feed(tracker, 1, [box(0), box(4)], [RED, RED], labels=[1, 0])
    assert set(tracks) == {1, 2}
    assert feed(tracker, 2, [box(0)], [RED], labels=[2]) == {}
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED], labels=[0])
    assert feed(tracker, 1, [box(0)], [RED], labels=[1]) == {}
    # Two classes on one spot are no duplicates either.
    tracks = feed(tracker, 2, [box(0)], [RED], labels=[1])
    assert set(tracks) == {2}
    assert known(tracker) == [1, 2]


def test_scores_below_the_threshold_are_not_seen():
    tracker = JDETracker()
    assert feed(tracker, 0, [box(0), box(200)], [RED, BLUE], scores=[0.3, float('nan')]) == {}
    assert set(feed(JDETracker(), 0, [box(0), box(200)], [RED, BLUE], scores=[0.4, 0.41])) == {1}
    tracker = JDETracker(conf_thr=0.2, init_thr=0.5)
    assert set(feed(tracker, 0, [box(0), box(200)], [RED, BLUE], scores=[0.3, 0.6])) == {1}
    assert set(feed(tracker, 1, [box(200)], [BLUE], scores=[0.3])) == {1}
    tracker = JDETracker(init_thr=0.5)
    assert set(feed(tracker, 0, [box(0), box(200)], [RED, BLUE], scores=[0.45, 0.5])) == {1}


def test_output_filter_hides_but_does_not_forget():
    tracker = JDETracker(min_area=100, max_aspect=1.6)
    wide, tiny = [0, 0, 50, 20], [200, 0, 205, 10]
    assert set(feed(tracker, 0, [wide, tiny, box(400)], [RED, GREEN, BLUE])) == {3}
    assert known(tracker) == [1, 2, 3]
    assert set(feed(JDETracker(), 0, [wide, tiny], [RED, GREEN])) == {1, 2}
    # An area of 100 is too little, an aspect of 1.6 not too wide.
    edges = [[0, 0, 10, 10], [50, 0, 66, 10]]
    assert set(feed(JDETracker(min_area=100, max_aspect=1.6), 0, edges, [RED, BLUE])) == {2}


def test_rows_stand_as_in_fairmots_lists_which_decides_between_equally_good_assignments():
    """Tracked all along, new, found; then lost before, lost now."""
    tracker = JDETracker()
    looks = {1: RED, 2: GREEN, 3: BLUE, 4: RED + BLUE, 5: RED + GREEN}
    steps = [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 4], [1, 4, 2, 3]),
        ([3, 1, 5], [1, 5, 3, 2, 4]),
        ([4, 5], [5, 4, 2, 1, 3]),
    ]
    for frame, (seen, order) in enumerate(steps):
        feed(tracker, frame, [box(200 * i) for i in seen], [looks[i] for i in seen])
        assert tracker._tracks.ids.tolist() == order


# ---------------------------------------------------------------- ordinary and wrong input


def test_nothing_at_all():
    tracker = JDETracker()
    for frame in range(3):
        assert feed(tracker, frame) == {}
    assert feed(tracker, 3, [box(0)], [RED]) == {}
    result = tracker.track(
        4, torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 0)
    )
    assert result.bboxes.shape == (0, 4)


def test_boxes_of_no_height_are_left_out():
    tracker = JDETracker()
    with np.errstate(all='raise'):
        assert set(feed(tracker, 0, [[5, 5, 9, 5], [7, 7, 7, 7], box(0)], [RED] * 3)) == {1}
    # Boxes turned inside out have no area to be put out.
    assert set(feed(JDETracker(), 0, [[9, 9, 2, 20], box(0)], [RED] * 2)) == {2}


def test_a_look_of_length_0_is_like_no_other():
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED * 0])
    assert set(feed(tracker, 1, [box(0)], [RED])) == {1}  # by overlap
    assert feed(tracker, 2) == {}
    assert set(feed(tracker, 3, [box(0)], [RED])) == {1}


def test_a_new_video_starts_at_id_1():
    tracker = JDETracker()
    feed(tracker, 0, [box(0), box(300)], [RED, BLUE])
    feed(tracker, 7, [box(0)], [RED])
    assert set(feed(tracker, 0, [box(100)], [GREEN])) == {1}
    tracker.reset()
    assert set(feed(tracker, 40, [box(100)], [GREEN])) == {1}


def test_memory_is_bounded():
    tracker = JDETracker()
    rng = np.random.default_rng(0)
    for frame in range(400):
        feed(tracker, frame, [box(rng.uniform(0, 5000)) for _ in range(5)], rng.normal(size=(5, 3)))
        assert len(known(tracker)) <= 5 * 34


def test_frames_out_of_order_are_an_error():
    tracker = JDETracker()
    feed(tracker, 3, [box(0)], [RED])
    with pytest.raises(MMKDError, match='frame 3 after frame 3.*VideoSampler'):
        feed(tracker, 3, [box(0)], [RED])


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_numbers_that_are_none_are_an_error_where_they_matter(bad):
    with pytest.raises(MMKDError, match='frame 0 .*diverged'):
        feed(JDETracker(), 0, [box(0)], [[bad, 0, 0]])
    with pytest.raises(MMKDError, match='frame 0 .*diverged'):
        feed(JDETracker(), 0, [[bad, 0, 1, 1]], [RED])
    assert feed(JDETracker(), 0, [box(0)], [[bad, 0, 0]], scores=[0.1]) == {}


def test_lengths_and_dimensions_must_agree():
    one = torch.ones(1)
    with pytest.raises(MMKDError, match='1 boxes, 2 scores'):
        JDETracker().track(0, torch.ones(1, 4), torch.ones(2), one, torch.ones(1, 3))
    tracker = JDETracker()
    feed(tracker, 0, [box(0)], [RED])
    with pytest.raises(MMKDError, match='5 dimensions.*had 3'):
        tracker.track(1, torch.tensor([[0.0, 0, 9, 9]]), one, one, torch.ones(1, 5))


def test_built_by_name_and_half_precision():
    tracker = MODELS.build({'type': 'mmkd.JDETracker', 'conf_thr': 0.3})
    result = tracker.track(
        0,
        torch.tensor([[0, 0, 40, 100]], dtype=torch.float16),
        torch.tensor([0.9], dtype=torch.float16),
        torch.tensor([0]),
        torch.tensor([[1, 0, 0]], dtype=torch.float16, requires_grad=True),
    )
    assert result.bboxes.dtype == torch.float32
    assert result.bboxes.tolist() == [[0, 0, 40, 100]]
