"""The bootstrap against all that can be drawn, against formulas, and against a plain loop."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from mmkd.evaluation import attribute_sot_bootstrap
from mmkd.evaluation.attribute_sot_bootstrap import _draw, _generator, interval, resample


def test_drawn_counts():
    counts = _draw(5000, 7, np.random.default_rng(0))
    assert (counts.sum(axis=1) == 7).all()
    # Multinomial: mean 1, variance 1 - 1/7.
    assert counts.mean() == 1
    assert counts.var(axis=0) == pytest.approx(np.full(7, 6 / 7), rel=0.1)


def test_every_resample_is_what_a_plain_loop_says():
    random = np.random.default_rng(0)
    scores = {'a': random.uniform(0, 100, (3, 5, 2)), 'b': random.uniform(0, 100, (1, 5, 2))}
    found = resample(scores, 50, seed=4, name='POC')
    videos = _generator(4, 'POC', 'videos').integers(0, 5, (50, 5))
    for arm, values in scores.items():
        seeds = len(values)
        drawn = _generator(4, 'POC', 'seeds', arm).integers(0, seeds, (50, seeds))
        for i in range(50):
            for metric in range(2):
                expected = np.mean([values[s, v, metric] for s in drawn[i] for v in videos[i]])
                assert found[arm][i, metric] == pytest.approx(expected)


def test_the_distribution_is_that_of_all_possible_draws():
    random = np.random.default_rng(1)
    a, b = random.uniform(0, 100, (2, 3)), random.uniform(0, 100, (2, 3))
    exact = [
        a[list(s)][:, list(v)].mean() - b[list(t)][:, list(v)].mean()
        for v in itertools.product(range(3), repeat=3)
        for s in itertools.product(range(2), repeat=2)
        for t in itertools.product(range(2), repeat=2)
    ]
    found = resample({'a': a[..., None], 'b': b[..., None]}, 200_000)
    difference = (found['a'] - found['b'])[:, 0]
    assert difference.mean() == pytest.approx(np.mean(exact), abs=0.1)
    assert difference.std() == pytest.approx(np.std(exact), rel=0.01)
    for level in (50, 90):
        ends = interval(difference, level)
        tail = (100 - level) / 2
        assert ends == pytest.approx(np.percentile(exact, [tail, 100 - tail]), abs=0.5)


def test_what_is_hard_for_both_arms_cancels_out():
    hard = np.random.default_rng(0).uniform(0, 100, (1, 40, 1))
    found = resample({'a': hard + 3, 'b': hard}, 1000)
    assert interval(found['a'] - found['b']) == (pytest.approx([3]), pytest.approx([3]))
    # Unpaired, this would be lost in the differences between videos.
    low, high = interval(found['a'])
    assert high - low > 10


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = 0
    for i in range(300):
        gains = random.normal(2, 5, 40)
        base = random.uniform(20, 80, 40)
        scores = {'a': (base + gains)[None, :, None], 'b': base[None, :, None]}
        found = resample(scores, 500, seed=i)
        low, high = interval(found['a'] - found['b'])
        covered += low[0] <= 2 <= high[0]
    # The percentile interval of 40 videos is a little narrow.
    assert 0.88 <= covered / 300 <= 0.98


def test_seeds_that_differ_widen_the_interval():
    videos = np.random.default_rng(0).uniform(40, 60, (1, 50, 1))
    steady = resample({'a': np.repeat(videos, 3, axis=0)}, 2000)['a']
    shaken = resample({'a': videos + np.array([-10, 0, 10])[:, None, None]}, 2000)['a']
    assert shaken.std() > 3 * steady.std()


def test_draws_depend_on_the_seed_and_the_subset_but_not_on_other_arms():
    random = np.random.default_rng(0)
    scores = {name: random.uniform(0, 100, (2, 20, 3)) for name in 'abc'}
    whole = resample(scores, 100, name='POC')
    alone = resample({'c': scores['c'], 'a': scores['a']}, 100, name='POC')
    assert (whole['a'] == alone['a']).all()
    assert (whole['c'] == alone['c']).all()
    assert (whole['a'] != resample(scores, 100, name='FOC')['a']).any()
    assert (whole['a'] != resample(scores, 100, seed=1, name='POC')['a']).any()


def test_many_videos_are_drawn_in_parts(monkeypatch):
    scores = {'a': np.random.default_rng(0).uniform(0, 100, (2, 30, 3))}
    whole = resample(scores, 100)
    monkeypatch.setattr(attribute_sot_bootstrap, '_AT_ONCE', 30 * 7)
    np.testing.assert_allclose(resample(scores, 100)['a'], whole['a'])


def test_ten_thousand_resamples_of_lasot_are_quick():
    random = np.random.default_rng(0)
    scores = {name: random.uniform(0, 100, (3, 280, 3)) for name in 'abcd'}
    start = time.process_time()
    resample(scores)
    # 0.1 s on the slow processor this was written on; a loop takes a minute.
    assert time.process_time() - start < 3
