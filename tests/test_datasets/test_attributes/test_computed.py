"""Attributes from boxes, against loops that go pixel by pixel and frame by frame."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.datasets.attributes import computed
from mmkd.datasets.attributes.computed import (
    LASOT,
    OTB,
    RULES,
    UAV123,
    BoxRules,
    covered_share,
    frame_attributes,
    occlusion_by_overlap,
    video_attributes,
)
from mmkd.errors import MMKDError

SIDE = st.integers(0, 12)
BOX = st.tuples(SIDE, SIDE, st.integers(0, 9), st.integers(0, 9))
# Sides that are exactly a half, the same or double, so that thresholds are hit as well as passed.
TRACK = st.lists(
    st.tuples(
        st.integers(-40, 60), st.integers(-40, 60), st.sampled_from([0, 5, 10, 20, 40]),
        st.sampled_from([0, 5, 10, 20, 40]),
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


def pixels(box):
    """The whole-numbered box as a set of pixels."""
    x, y, w, h = box
    return {(i, j) for i in range(x, x + w) for j in range(y, y + h)}


def slow_overlap(frames, boxes, in_front):
    shares = []
    for i, (frame, box) in enumerate(zip(frames, boxes)):
        own, hidden = pixels(box), set()
        for j, (other_frame, other) in enumerate(zip(frames, boxes)):
            in_the_way = in_front == 'all' or other[1] + other[3] > box[1] + box[3]
            if i != j and frame == other_frame and in_the_way:
                hidden |= own & pixels(other)
        shares.append(len(hidden) / len(own) if own else 0.0)
    return shares


def slow_attributes(boxes, rules, image_size, covered, absent):
    """LaSOT's, OTB's or UAV123's criteria as their papers tell them, one frame after another."""
    found = {name: [False] * len(boxes) for name in rules.attribute_names}
    reference, before = None, None

    def mark(criterion, t):
        if criterion in rules.names:
            found[rules.names[criterion]][t] = True

    for t, (x, y, w, h) in enumerate(boxes):
        if covered[t] >= rules.full:
            mark('full', t)
        elif covered[t] >= rules.partial:
            mark('partial', t)
        if absent[t] or w <= 0 or h <= 0:
            before = None
            continue
        if reference is None:
            reference = (w, h)
        ratio = w * h / (reference[0] * reference[1])
        ratio = math.sqrt(ratio) if rules.scale == 'side' else ratio
        if not rules.scale_range[0] <= ratio <= rules.scale_range[1]:
            mark('scale', t)
        ratio = (w / h) / (reference[0] / reference[1])
        if not rules.aspect_range[0] <= ratio <= rules.aspect_range[1]:
            mark('aspect', t)
        if w * h < rules.low_resolution:
            mark('resolution', t)
        if before is not None:
            far = math.hypot(x + w / 2 - before[0], y + h / 2 - before[1])
            unit = {'size': math.sqrt(w * h), 'long_side': max(w, h), 'short_side': min(w, h),
                    'pixels': 1}[rules.motion_unit]  # fmt: skip
            if far > rules.motion * unit:
                mark('motion', t)
        before = (x + w / 2, y + h / 2)
        inside = sum(0 <= i < image_size[0] and 0 <= j < image_size[1] for i, j in
                     pixels((x, y, w, h)))  # fmt: skip
        if inside / (w * h) <= rules.out_of_view:
            mark('view', t)
    return found


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(1, 3), BOX), max_size=12),
    in_front=st.sampled_from(computed.FRONTS),
)
def test_overlap_is_the_union_of_the_pixels_of_boxes_in_front(rows, in_front):
    frames, boxes = [frame for frame, _ in rows], [box for _, box in rows]
    got = occlusion_by_overlap(np.array(frames), np.array(boxes).reshape(-1, 4), in_front)
    assert got == pytest.approx(slow_overlap(frames, boxes, in_front), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(boxes=st.lists(BOX, min_size=1, max_size=6), shift=st.floats(-50, 50),
       scale=st.floats(0.01, 100))  # fmt: skip
def test_overlap_of_broken_numbers_is_that_of_whole_ones(boxes, shift, scale):
    frames, boxes = np.zeros(len(boxes), int), np.array(boxes, float)
    # All boxes alike: which is in front must not hang on the last digit.
    moved = boxes * scale + (shift, shift, 0, 0)
    whole = occlusion_by_overlap(frames, boxes, 'all')
    assert occlusion_by_overlap(frames, moved, 'all') == pytest.approx(whole, abs=1e-6)


def test_overlap_does_not_depend_on_how_much_is_done_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 30, size=400)
    boxes = np.concatenate([rng.uniform(0, 80, (400, 2)), rng.uniform(1, 30, (400, 2))], axis=1)
    whole = occlusion_by_overlap(frames, boxes)
    monkeypatch.setattr(computed, '_CELLS', 50)
    assert np.array_equal(occlusion_by_overlap(frames, boxes), whole)
    assert 0 < np.count_nonzero(whole) < len(whole)


def test_covered_share_counts_what_two_boxes_cover_together_once():
    box = np.array([[0, 0, 10, 10]])
    two = np.array([[[0, 0, 6, 10], [4, 0, 8, 10]]])
    assert covered_share(box, two) == pytest.approx([0.8])
    assert covered_share(box, np.zeros((1, 0, 4))).tolist() == [0.0]
    assert covered_share(np.zeros((1, 4)), two).tolist() == [0.0]


@settings(max_examples=200, deadline=None)
@given(
    boxes=TRACK,
    rules=st.sampled_from([
        LASOT, OTB, UAV123, replace(LASOT, scale='side', low_resolution=300),
        replace(LASOT, motion_unit='long_side'), replace(OTB, motion_unit='short_side', motion=1),
    ]),
    data=st.data(),
)  # fmt: skip
def test_every_frame_has_what_the_papers_say(boxes, rules, data):
    shares = st.lists(st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.9, 1.0]), min_size=len(boxes),
                      max_size=len(boxes))  # fmt: skip
    covered = data.draw(shares)
    absent = data.draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes)))
    got = frame_attributes(np.array(boxes), rules, (64, 48), np.array(covered), np.array(absent))
    want = slow_attributes(boxes, rules, (64, 48), covered, absent)
    assert {name: flags.tolist() for name, flags in got.items()} == want
    assert list(got) == list(rules.attribute_names)
    chosen = video_attributes(np.array(boxes), rules, 2, image_size=(64, 48),
                              covered=np.array(covered), absent=np.array(absent))  # fmt: skip
    assert chosen == tuple(name for name in want if sum(want[name]) >= 2)


def test_the_benchmarks_differ_where_their_papers_differ():
    slow, fast = [[0, 0, 30, 30], [25, 0, 30, 30]], [[0, 0, 30, 30], [31, 0, 30, 30]]
    found = {name: video_attributes(np.array(slow), rules) for name, rules in RULES.items()}
    assert found == {'lasot': ('LR',), 'otb': ('FM',), 'uav123': ('FM',)}
    assert video_attributes(np.array(fast), LASOT) == ('FM', 'LR')
    squeezed = np.array([[0, 0, 40, 40], [0, 0, 80, 20]])
    assert 'ARC' in video_attributes(squeezed, LASOT)
    assert 'ARC' in video_attributes(squeezed, UAV123)
    assert 'ARC' not in OTB.attribute_names
    leaving = np.array([[10, 10, 40, 40], [-10, 10, 40, 40]])
    assert 'OV' in video_attributes(leaving, OTB, image_size=(100, 100))
    assert 'OV' not in video_attributes(leaving, LASOT, image_size=(100, 100))
    half = dict(covered=np.array([0.0, 0.5]))
    assert 'OCC' in video_attributes(leaving, OTB, **half)
    assert 'POC' in video_attributes(leaving, LASOT, **half)


def test_frames_without_a_box_are_told_by_flags_alone():
    boxes = np.array([[0, 0, 40, 40], [np.nan] * 4, [0, 0, 0, 0], [300, 0, 40, 40]])
    found = frame_attributes(boxes, LASOT, (400, 100), covered=[0, 1, 0, 0],
                             outside=[False, False, True, False])  # fmt: skip
    assert found['FOC'].tolist() == [False, True, False, False]
    assert found['OV'].tolist() == [False, False, True, False]
    # Nobody knows how fast it was while it could not be seen.
    assert not found['FM'].any()
    assert not any(frame_attributes(np.zeros((3, 4)))[name].any() for name in ('SV', 'LR'))
    assert all(len(flags) == 0 for flags in frame_attributes(np.zeros((0, 4))).values())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'names': {'scael': 'SV'}}, "Did you mean 'scale'"),
        ({'motion_unit': 'pixel'}, "Did you mean 'pixels'"),
        ({'scale': 'length'}, "'area', 'side'"),
        ({'scale_range': (1.5, 2)}, 'must contain 1'),
        ({'partial': 0.95}, 'partial <= full'),
    ],
)
def test_wrong_rules_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        BoxRules(**options)


def test_wrong_arrays_are_told():
    with pytest.raises(MMKDError, match=r'\(frames, 4\)'):
        frame_attributes(np.zeros((3, 5)))
    with pytest.raises(MMKDError, match='covered has the shape'):
        frame_attributes(np.zeros((3, 4)), covered=[0, 1])
    with pytest.raises(MMKDError, match='lower_edge'):
        occlusion_by_overlap(np.zeros(1, int), np.zeros((1, 4)), 'lower_egde')
    with pytest.raises(MMKDError, match='frames for 2 boxes'):
        occlusion_by_overlap(np.zeros(3, int), np.zeros((2, 4)))
