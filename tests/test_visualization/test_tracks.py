from __future__ import annotations

import numpy as np
import pytest

from mmkd.visualization import TrackPainter, colour_of


def grey(height=480, width=640):
    return np.full((height, width, 3), 90, dtype=np.uint8)


def test_colours_are_stable_and_neighbours_differ():
    assert colour_of(1) == (255, 101, 38)
    colours = np.array([colour_of(i) for i in range(1, 60)], dtype=int)
    assert len({tuple(c) for c in colours}) == 59
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 60


def test_box_is_drawn_in_its_colour_and_the_frame_is_left_alone():
    image = grey()
    out = TrackPainter(trail=0, caption=False).paint(image, [[100, 100, 200, 300]], [4])
    assert out.shape == image.shape
    assert (image == 90).all()
    assert tuple(out[200, 100]) == colour_of(4)  # on the left edge
    assert tuple(out[200, 150]) == (90, 90, 90)  # inside
    assert (out[400:] == 90).all()


def test_small_frames_are_enlarged():
    assert TrackPainter().paint(grey(120, 160), [], []).shape == (480, 640, 3)
    assert TrackPainter(scale=1).paint(grey(120, 160), [], []).shape == (120, 160, 3)


def test_trail_follows_and_ends_with_the_track():
    painter = TrackPainter(trail=5, caption=False)
    for x in range(0, 100, 20):
        out = painter.paint(grey(), [[x, 100, x + 20, 200]], [1])
    assert tuple(out[200, 50]) == colour_of(1)  # where it was before
    assert (painter.paint(grey(), [], []) == 90).all()
    # Seen again, the trail starts anew; and no memory of the gone ones is kept.
    out = painter.paint(grey(), [[300, 100, 320, 200]], [1])
    assert tuple(out[200, 200]) == (90, 90, 90)
    for i in range(100):
        painter.paint(grey(), [[0, 0, 9, 9]], [i])
    assert len(painter._trails) == 1


def test_labels_do_not_cover_each_other():
    painter = TrackPainter(trail=0, caption=False)
    boxes = [[100, 200, 140, 300], [104, 202, 144, 304], [108, 198, 148, 296]]
    out = painter.paint(grey(), boxes, [1, 2, 3])
    for i in (1, 2, 3):
        # A filled label, not only the thin lines of the box.
        assert (out[:, :] == colour_of(i)).all(axis=2).sum() > 350, i


@pytest.mark.parametrize(
    'box', [[-50, -50, 20, 20], [600, 400, 900, 900], [1e7, 0, 2e7, 9], [-9e8, -9e8, -9e7, -9e7]]
)
def test_boxes_outside(box):
    assert TrackPainter().paint(grey(), [box], [1], [0], [0.5]).shape == (480, 640, 3)


def test_text():
    painter = TrackPainter(classes=('person', 'car'), show_scores=True)
    assert painter._label(7, 1, 0.912) == '7 car 0.91'
    assert painter._label(7, 5, None) == '7 class 5'
    assert TrackPainter(classes=('person',))._label(7, 0, 0.9) == '7'
