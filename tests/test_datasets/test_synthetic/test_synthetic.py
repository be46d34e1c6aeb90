from __future__ import annotations

import csv
import hashlib
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.datasets.converters.motchallenge import read_gt, read_sequence
from mmkd.datasets.synthetic import ATTRIBUTES, SceneConfig, render, write_sequence
from mmkd.datasets.synthetic.sprite import place_sprite, random_vehicle
from mmkd.datasets.synthetic.walker import Pose, draw_walker, random_look
from mmkd.errors import MMKDError


@pytest.fixture(scope='module')
def frames():
    return list(render(SceneConfig(width=256, height=160, frames=150, seed=11)))


def digest(folder):
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return [(p.relative_to(folder), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    for name, seed in (('a/x', 4), ('b/x', 4), ('c/x', 5)):
        write_sequence(str(tmp_path / name), SceneConfig(128, 96, frames=4, vehicles=1, seed=seed))
    assert digest(tmp_path / 'a') == digest(tmp_path / 'b')
    assert digest(tmp_path / 'a') != digest(tmp_path / 'c')


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    heading=st.floats(-7, 7),
    phase=st.floats(0, 7),
    pace=st.floats(0, 4),
    height=st.floats(15, 100),
)
def test_the_box_of_a_walker_fits_its_pixels(seed, heading, phase, pace, height):
    look = random_look(np.random.default_rng(seed))
    picture = draw_walker(look, Pose(heading, phase, pace), (100.3, 90.6), height)
    rows, columns = np.nonzero(picture.alpha > 0.02)
    x1, y1, x2, y2 = picture.box
    drawn = (columns.min() + picture.x, rows.min() + picture.y,
             columns.max() + 1 + picture.x, rows.max() + 1 + picture.y)  # fmt: skip
    np.testing.assert_allclose((x1, y1, x2, y2), drawn, atol=1.3)
    # It stands on its feet, and is about as high as it should be.
    assert abs(y2 - 90.6) < 0.08 * height + 1
    assert 0.75 * height < y2 - y1 < 1.1 * height


def test_the_box_of_a_vehicle_fits_its_pixels():
    sprite = random_vehicle(np.random.default_rng(0))
    for mirror in (False, True):
        picture = place_sprite(sprite, (100.3, 90.6), 40, mirror, (200, 200))
        rows, columns = np.nonzero(picture.alpha > 0.5)
        drawn = (columns.min() + picture.x, rows.min() + picture.y,
                 columns.max() + 1 + picture.x, rows.max() + 1 + picture.y)  # fmt: skip
        np.testing.assert_allclose(picture.box, drawn, atol=1.3)
    assert place_sprite(sprite, (-300, 90), 40, False, (200, 200)) is None


def test_a_mirrored_vehicle_is_the_mirror_image():
    sprite = random_vehicle(np.random.default_rng(0))
    width = sprite.alpha.shape[1] / 160 * 40
    left = place_sprite(sprite, (50 + width / 2, 90), 40, True, (200, 200))
    right = place_sprite(sprite, (50 + width / 2, 90), 40, False, (200, 200))
    columns = int(width)
    np.testing.assert_allclose(
        left.alpha[:, :columns][:, ::-1].mean(axis=0),
        right.alpha[:, :columns].mean(axis=0),
        atol=0.5,
    )


def test_walkers_stand_out_against_what_is_beside_them():
    *_, frame = render(SceneConfig(256, 160, frames=3, walkers=6, obstacles=0, seed=2))
    contrasts = []
    for target in frame.targets:
        if target.visible > 0.95:
            x1, y1, x2, y2 = (int(round(v)) for v in target.box)
            inside = frame.image[y1:y2, x1:x2].astype(float)
            around = frame.image[y1:y2, max(0, x1 - (x2 - x1)) : x1].astype(float)
            if around.size:
                contrasts.append(np.abs(inside.mean(axis=0) - around.mean(axis=0)).max())
    assert len(contrasts) >= 2
    assert np.median(contrasts) > 8


def test_visibility_is_between_nothing_and_what_is_inside(frames):
    targets = [target for frame in frames for target in frame.targets]
    assert all(0 <= t.visible <= t.inside + 1e-9 <= 1 + 2e-9 for t in targets)
    assert any(t.visible < 0.3 < t.inside for t in targets)  # somebody is hidden
    assert any(t.inside < 0.7 for t in targets)  # somebody leaves
    assert np.mean([t.visible > 0.9 for t in targets]) > 0.4


def test_obstacles_hide_a_lone_walker():
    hidden = [
        target.inside - target.visible
        for seed in range(3)
        for frame in render(SceneConfig(256, 160, frames=60, walkers=1, obstacles=12, seed=seed))
        for target in frame.targets
    ]
    assert max(hidden) > 0.3
    open_air = [
        target.inside - target.visible
        for frame in render(SceneConfig(256, 160, frames=30, walkers=1, obstacles=0, seed=0))
        for target in frame.targets
    ]
    np.testing.assert_allclose(open_air, 0, atol=1e-9)


def test_boxes_may_leave_the_image_but_touch_it(frames):
    boxes = np.array([t.box for f in frames for t in f.targets])
    assert (boxes[:, 2] > 0).all()
    assert (boxes[:, 0] < 256).all()
    assert (boxes[:, 0] < 0).any()


def test_somebody_leaves_and_comes_back_under_the_same_id(frames):
    seen = {}
    for number, frame in enumerate(frames):
        for target in frame.targets:
            seen.setdefault(target.track, []).append(number)
    assert any(max(np.diff(numbers), default=0) > 5 for numbers in seen.values())


def test_people_are_20_to_80_pixels_high_at_the_size_of_the_quickstart():
    heights = []
    for seed in range(3):
        for frame in render(SceneConfig(frames=2, seed=seed)):
            heights += [t.box[3] - t.box[1] for t in frame.targets]
    assert min(heights) > 15
    assert max(heights) < 100
    assert 30 < np.median(heights) < 75


def test_the_sequence_is_what_the_converter_reads(tmp_path):
    config = SceneConfig(128, 96, frames=6, walkers=5, vehicles=2, seed=3, fps=12.5)
    ticks = []
    report = write_sequence(str(tmp_path / 's'), config, progress=lambda: ticks.append(1))
    assert len(ticks) == report['frames'] == 6
    sequence = read_sequence(tmp_path / 's')
    assert (sequence.width, sequence.height, sequence.fps) == (128, 96, 12.5)
    rows, skipped = read_gt(tmp_path / 's' / 'gt' / 'gt.txt', sequence.frames)
    assert len(rows) == report['boxes']
    assert not skipped
    assert {row.class_id for row in rows} <= {1, 3}
    image = cv2.imread(str(tmp_path / 's' / 'img1' / '000001.jpg'))
    assert image.shape == (96, 128, 3)
    with pytest.raises(MMKDError, match='exists.*--force'):
        write_sequence(str(tmp_path / 's'), config)
    write_sequence(str(tmp_path / 's'), config, force=True)
    (tmp_path / 's' / 'thesis.txt').write_text('mine')
    with pytest.raises(MMKDError, match="holds 'thesis.txt'"):
        write_sequence(str(tmp_path / 's'), config, force=True)


def test_attributes_cover_each_track_from_first_to_last_appearance(tmp_path):
    write_sequence(str(tmp_path / 's'), SceneConfig(256, 160, frames=150, seed=11))
    with open(tmp_path / 's' / 'attributes.csv', newline='') as file:
        table = list(csv.DictReader(file))
    rows, _ = read_gt(tmp_path / 's' / 'gt' / 'gt.txt', None)
    gt = {(row.frame, row.track): row for row in rows}
    spans = {}
    for row in rows:
        spans.setdefault(row.track, []).append(row.frame)
    expected = [
        (frame, track)
        for track in sorted(spans)
        for frame in range(min(spans[track]), max(spans[track]) + 1)
    ]
    assert [(int(line['frame']), int(line['id'])) for line in table] == expected
    for line in table:
        row = gt.get((int(line['frame']), int(line['id'])))
        if row is None:
            assert [line[name] for name in ATTRIBUTES] == ['0', '1', '0', '0', '0', '0']
        elif row.visibility < 0.7:
            assert '1' in (line['occlusion'], line['out_of_view'])
    for name in ATTRIBUTES:
        share = np.mean([int(line[name]) for line in table])
        assert 0.005 < share < 0.6, name


@pytest.mark.parametrize(
    'wrong', [{'width': 10}, {'frames': 0}, {'walkers': -1}, {'fps': 0}, {'seed': -1}]
)
def test_impossible_scenes_are_told(wrong):
    with pytest.raises(MMKDError):
        SceneConfig(**wrong)


def test_a_scene_without_anybody_is_fine():
    (frame,) = render(SceneConfig(frames=1, walkers=0, obstacles=0))
    assert frame.targets == []
    assert frame.image.std() > 10


def test_rendering_is_fast():
    start = time.process_time()
    list(render(SceneConfig(512, 288, frames=20)))
    assert 20 / (time.process_time() - start) > 10  # usually 60; machines differ
