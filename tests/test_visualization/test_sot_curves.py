from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmkd.errors import MMKDError
from mmkd.visualization import sot_curves
from mmkd.visualization.sot_curves import draw_curves

THRESHOLDS = {
    'success': np.arange(21) / 20,
    'norm_precision': np.arange(51) / 100,
    'precision': np.arange(51),
}


def curves(level, metrics=THRESHOLDS):
    return {metric: np.full(len(THRESHOLDS[metric]), float(level)) for metric in metrics}


def test_a_panel_of_each_metric(tmp_path):
    three = cv2.imread(
        str(draw_curves({'a': curves(30), 'b': curves(60)}, THRESHOLDS, tmp_path / 'new/three.png'))
    )
    path = draw_curves({'a': curves(30, ['success'])}, THRESHOLDS, tmp_path / 'one.png', 'POC')
    one = cv2.imread(str(path))
    assert three.shape[1] == 3 * one.shape[1]
    blue, orange = (178, 114, 0), (0, 94, 213)
    for panel in np.array_split(three, 3, axis=1):
        assert (panel == blue).all(axis=2).any()
        assert (panel == orange).all(axis=2).any()
    assert not (one == orange).all(axis=2).any()


def test_legend_tells_the_scores_best_first(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(sot_curves, 'save_figure', lambda figure, path: figures.append(figure))
    rising = {'precision': np.arange(51.0), 'success': np.linspace(100, 0, 21)}
    draw_curves(
        {'a': rising, 'b': curves(60, ['precision', 'success'])}, THRESHOLDS, tmp_path / 'x.png'
    )
    success, precision = figures[0].axes
    texts = [[t.get_text() for t in p.get_legend().get_texts()] for p in (success, precision)]
    assert texts == [['b [60.0]', 'a [50.0]'], ['b [60.0]', 'a [20.0]']]
    # A tracker keeps its colour in every panel.
    by_label = [
        {line.get_label()[0]: line.get_color() for line in p.lines[:2]} for p in figures[0].axes
    ]
    assert by_label[0] == by_label[1]


def test_mistakes(tmp_path):
    with pytest.raises(MMKDError, match='no tracker'):
        draw_curves({}, THRESHOLDS, tmp_path / 'a.png')
    with pytest.raises(MMKDError, match='Cannot write the picture'):
        draw_curves({'a': curves(1)}, THRESHOLDS, tmp_path / 'a.nonsense')
