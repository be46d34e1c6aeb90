from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmkd.errors import MMKDError
from mmkd.visualization.radar import _rings, draw_radar

NAMES = ('POC', 'FOC', 'FM', 'OV')


def scores(value):
    return {name: value + i for i, name in enumerate(NAMES)}


def test_picture_has_a_line_of_each_tracker(tmp_path):
    counts = dict.fromkeys(NAMES, 7)
    path = draw_radar({'a': scores(30.0)}, tmp_path / 'new' / 'one.png', counts, 'Success')
    one = cv2.imread(str(path))
    two = cv2.imread(
        str(draw_radar({'a': scores(30.0), 'b': scores(40)}, tmp_path / 'two.png', counts))
    )
    blue, orange = (178, 114, 0), (0, 94, 213)
    assert (one == blue).all(axis=2).any()
    assert not (one == orange).all(axis=2).any()
    assert (two == blue).all(axis=2).any()
    assert (two == orange).all(axis=2).any()


@pytest.mark.parametrize(
    'values', [[30.0, 31], [5, 95], [50, 50], [0, 0], [0.1, 0.2], [99.7, 100], [28, 56], [0, 100]]
)
def test_rings_hold_all_scores(values):
    rings = _rings(np.array(values))
    assert rings[0] <= min(values)
    assert rings[-1] >= max(values)
    assert 4 <= len(rings) <= 8
    assert rings[0] >= 0


def test_mistakes(tmp_path):
    with pytest.raises(MMKDError, match='no tracker'):
        draw_radar({}, tmp_path / 'a.png')
    with pytest.raises(MMKDError, match='three attributes or more, there are 2'):
        draw_radar({'a': {'POC': 1.0, 'FM': 2.0}}, tmp_path / 'a.png')
    other = {**scores(1.0), 'MB': 1.0}
    with pytest.raises(MMKDError, match="only one has 'MB'"):
        draw_radar({'a': scores(1.0), 'b': other}, tmp_path / 'a.png')
    with pytest.raises(MMKDError, match='no finite number'):
        draw_radar({'a': {**scores(1.0), 'POC': float('nan')}}, tmp_path / 'a.png')
    with pytest.raises(MMKDError, match='Cannot write the picture'):
        draw_radar({'a': scores(1.0)}, tmp_path / 'a.nonsense')
