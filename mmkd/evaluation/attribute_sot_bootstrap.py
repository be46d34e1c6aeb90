"""How far a score would move with other videos and other trainings: a paired bootstrap."""

from __future__ import annotations

import zlib
from typing import Dict, Mapping, Tuple

import numpy as np

# Counts that are held at once: 32 MB of them.
_AT_ONCE = 4_000_000

METHOD = (
    'percentile bootstrap: in each resample videos are drawn with replacement, the same ones for '
    'all arms (paired), and of an arm with several seeds its seeds, too, independently of other '
    'arms; a score is the mean over both'
)


def resample(
    scores: Mapping[str, np.ndarray], resamples: int = 10_000, seed: int = 0, name: str = ''
) -> Dict[str, np.ndarray]:
    """Draws videos and seeds with replacement, and scores every arm on what was drawn.

    A difference of two arms in one resample is one of **paired** scores, because both are means
    over the same videos: what makes a video hard for both cancels out. (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13; videos and seeds are two crossed factors, each
    resampled for itself, Owen, Annals of Applied Statistics 1(2), 2007.)

    No resample is ever put together: how often each video was drawn is a row of counts, and a
    matrix product with the scores gives all arms, seeds and metrics at once.

    Args:
        scores: ``{arm: (seeds, videos, metrics)}``, the same videos in the same order in each.
        resamples: How many.
        seed: Of the random numbers. The same seed and name draw the same videos, whatever arms
            there are.
        name: Of the subset; other subsets draw other videos.

    Returns:
        ``{arm: (resamples, metrics)}``.
    """
    videos = next(iter(scores.values())).shape[1]
    columns = np.concatenate([s.transpose(0, 2, 1).reshape(-1, videos) for s in scores.values()])
    means = _over_videos(columns, resamples, _generator(seed, name, 'videos'))
    found, start = {}, 0
    for arm, values in scores.items():
        seeds, _, metrics = values.shape
        part = means[:, start : start + seeds * metrics].reshape(-1, seeds, metrics)
        start += seeds * metrics
        drawn = _draw(resamples, seeds, _generator(seed, name, 'seeds', arm))
        found[arm] = np.einsum('rs,rsm->rm', drawn, part) / seeds
    return found


def interval(samples: np.ndarray, level: float = 95.0) -> Tuple[np.ndarray, np.ndarray]:
    """Ends of the percentile interval.

    Args:
        samples: (resamples, ...).
        level: Percent that lies inside.

    Returns:
        Lower and upper end, (...) each.
    """
    tail = (100 - level) / 2
    low, high = np.percentile(samples, [tail, 100 - tail], axis=0)
    return low, high


def _over_videos(columns: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Means (resamples, columns) of (columns, videos) over videos that are drawn."""
    videos = columns.shape[1]
    rows = max(1, _AT_ONCE // videos)
    parts = [
        _draw(min(rows, resamples - start), videos, random) @ columns.T
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(parts) / videos


def _draw(rows: int, count: int, random: np.random.Generator) -> np.ndarray:
    """How often each of ``count`` things is drawn in ``count`` draws: (rows, count) float64."""
    if count == 1:
        return np.ones((rows, 1))
    drawn = random.integers(0, count, (rows, count))
    drawn += np.arange(rows)[:, None] * count
    counts = np.bincount(drawn.ravel(), minlength=rows * count)
    return counts.reshape(rows, count).astype(np.float64)


def _generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each purpose, so that one arm more changes no other number."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
