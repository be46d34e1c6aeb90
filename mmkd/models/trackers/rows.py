"""Detections and tracks as tables: one array per column, one row per box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import kalman


class _Table:
    """What a dataclass of arrays with the same number of rows can do."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))

    def take(self, index: np.ndarray):
        """The rows that ``index`` names, or that a mask marks, in its order."""
        return type(self)(*(column[index] for column in vars(self).values()))

    def join(self, other):
        """These rows and then those of ``other``."""
        pairs = zip(vars(self).values(), vars(other).values())
        return type(self)(*(np.concatenate(pair) for pair in pairs))


@dataclass
class Detections(_Table):
    """What one frame brings."""

    measurements: np.ndarray  # (m, 4) float64, see kalman
    boxes: np.ndarray  # (m, 4) float64 xyxy
    scores: np.ndarray  # (m,)
    labels: np.ndarray  # (m,) int64
    embeddings: np.ndarray  # (m, D) float64, unit length


@dataclass
class Tracks(_Table):
    """Every track that can still be seen again.

    A track is *unconfirmed* until it was seen twice, then *tracked*, or *lost* while unseen. The
    tracked and the unconfirmed stand before the lost, each in the order in which they came to be
    so; equally good assignments are told apart by it.
    """

    ids: np.ndarray  # (n,) int64
    labels: np.ndarray  # (n,) int64
    scores: np.ndarray  # (n,) of the last detection
    embeddings: np.ndarray  # (n, D) float64, unit length, moving average
    mean: np.ndarray  # (n, 8), see kalman
    covariance: np.ndarray  # (n, 3, 4), see kalman
    first: np.ndarray  # (n,) int64, number of the frame where it started
    last: np.ndarray  # (n,) int64, number of the frame of its last detection
    confirmed: np.ndarray  # (n,) bool
    lost: np.ndarray  # (n,) bool, only confirmed tracks can be
    expired: np.ndarray  # (n,) bool, was once lost for too long

    @classmethod
    def start(cls, detections: Detections, first_id: int, frame: int, confirmed: bool) -> Tracks:
        """One track from each detection, in their order, with ids from ``first_id`` on."""
        count = len(detections)
        mean, covariance = kalman.initiate(detections.measurements)
        return cls(
            ids=np.arange(first_id, first_id + count, dtype=np.int64),
            labels=detections.labels,
            scores=detections.scores,
            embeddings=detections.embeddings,
            mean=mean,
            covariance=covariance,
            first=np.full(count, frame, dtype=np.int64),
            last=np.full(count, frame, dtype=np.int64),
            confirmed=np.full(count, confirmed),
            lost=np.zeros(count, dtype=bool),
            expired=np.zeros(count, dtype=bool),
        )
