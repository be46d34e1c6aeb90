"""A slow tracker, written one track at a time from the description of FairMOT's association.

It shares no code with mmkd or FairMOT: dense 8x8 Kalman filter, SciPy's assignment, Python objects.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.optimize import linear_sum_assignment


class DenseKalman:
    """The filter in its textbook form."""

    motion = np.eye(8) + np.eye(8, k=4)
    measure = np.eye(4, 8)

    @staticmethod
    def start(z):
        h = z[3]
        std = [h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]
        return np.r_[z, np.zeros(4)], np.diag(np.square(std))

    def predict(self, mean, cov):
        h = mean[3]
        std = [h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]
        return self.motion @ mean, self.motion @ cov @ self.motion.T + np.diag(np.square(std))

    def project(self, mean, cov):
        h = mean[3]
        noise = np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        return self.measure @ mean, self.measure @ cov @ self.measure.T + noise

    def update(self, mean, cov, z):
        expected, s = self.project(mean, cov)
        gain = cov @ self.measure.T @ np.linalg.inv(s)
        return mean + gain @ (z - expected), cov - gain @ s @ gain.T

    def distance(self, mean, cov, z):
        expected, s = self.project(mean, cov)
        return (z - expected) @ np.linalg.inv(s) @ (z - expected)


def to_xyah(box):
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / (y2 - y1), y2 - y1])


def to_xyxy(state):
    x, y, a, h = state[:4]
    return np.array([x - a * h / 2, y - h / 2, x + a * h / 2, y + h / 2])


def iou(a, b):
    """Of boxes whose corners are pixels that belong to them: from 0 to 9 is 10 wide."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    area_a, area_b = ((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return w * h / (area_a + area_b - w * h)


def unit(v):
    return v / np.linalg.norm(v)


class Track:
    def __init__(self, track_id, box, score, label, embedding, frame, confirmed):
        self.id, self.score, self.label = track_id, score, label
        self.embedding = unit(embedding)
        self.mean, self.cov = DenseKalman.start(to_xyah(box))
        self.first = self.last = frame
        self.state = 'tracked' if confirmed else 'unconfirmed'

    @property
    def box(self):
        return to_xyxy(self.mean)

    @property
    def age(self):
        return self.last - self.first


class ReferenceTracker:
    """Counts in ``seen_cases`` how often its rarer rules were needed."""

    def __init__(self, conf=0.4):
        self.conf, self.kalman = conf, DenseKalman()
        self.tracks, self.count, self.frame = [], 0, 0
        self.expired = set()  # ids of tracks that were once lost for too long
        self.seen_cases = Counter()

    def assign(self, tracks, dets, cost, limit):
        """Optimal with the choice to leave a pair apart for ``limit``: SciPy on a padded matrix."""
        if not tracks or not dets:
            return [], tracks, dets
        n, m = len(tracks), len(dets)
        padded = np.full((n + m, n + m), limit / 2)
        padded[n:, m:] = 0
        for i, t in enumerate(tracks):
            for j, d in enumerate(dets):
                padded[i, j] = min(cost(t, d) if t.label == d['label'] else 1e6, 1e6)
        rows, cols = linear_sum_assignment(padded)
        pairs = [(tracks[i], dets[j]) for i, j in zip(rows, cols) if i < n and j < m]
        taken = {id(t) for t, _ in pairs} | {id(d) for _, d in pairs}
        return (
            pairs,
            [t for t in tracks if id(t) not in taken],
            [d for d in dets if id(d) not in taken],
        )

    def hit(self, track, det):
        if track.state == 'lost' and track.id in self.expired:
            self.seen_cases['found after its time'] += 1
        track.mean, track.cov = self.kalman.update(track.mean, track.cov, to_xyah(det['box']))
        track.embedding = unit(0.9 * track.embedding + 0.1 * unit(det['embedding']))
        track.score, track.last, track.state = det['score'], self.frame, 'tracked'

    def track(self, boxes, scores, labels, embeddings, fps=30):
        self.frame += 1
        dets = [
            {'box': b, 'score': s, 'label': c, 'embedding': e}
            for b, s, c, e in zip(boxes, scores, labels, embeddings)
            if s > self.conf
        ]
        pool = [t for t in self.tracks if t.state in ('tracked', 'lost')]
        for t in pool:
            if t.state == 'lost':
                t.mean[7] = 0
            t.mean, t.cov = self.kalman.predict(t.mean, t.cov)

        def fused(t, d):
            squared = self.kalman.distance(t.mean, t.cov, to_xyah(d['box']))
            if squared > 9.4877:
                return np.inf
            return 0.98 * max(0, 1 - t.embedding @ unit(d['embedding'])) + 0.02 * squared

        def overlap(t, d):
            return 1 - iou(t.box, d['box'])

        lost_before = [t for t in pool if t.state == 'lost']
        first, rest, dets = self.assign(pool, dets, fused, 0.4)
        rest = [t for t in rest if t.state == 'tracked']
        second, rest, dets = self.assign(rest, dets, overlap, 0.5)
        for t in rest:
            t.state = 'lost'
        young = [t for t in self.tracks if t.state == 'unconfirmed']
        third, young, dets = self.assign(young, dets, overlap, 0.7)
        self.tracks = [t for t in self.tracks if t not in young]
        for t, d in first + second + third:
            self.hit(t, d)
        for d in dets:
            self.count += 1
            self.tracks.append(Track(self.count, frame=self.frame, confirmed=self.frame == 1, **d))

        # Whoever is lost although its time was up before this frame goes: it had its last chance
        # in this frame, or it was found on its last chance and is lost again.
        gone = [t for t in self.tracks if t.state == 'lost' and t.id in self.expired]
        self.seen_cases['lost again'] += sum(t not in lost_before for t in gone)
        self.tracks = [t for t in self.tracks if t not in gone]
        patience = int(fps / 30 * 30)
        for t in lost_before:
            if t.state == 'lost' and self.frame - t.last > patience:
                self.expired.add(t.id)

        drop = set()
        for a in (t for t in self.tracks if t.state != 'lost'):
            for b in (t for t in self.tracks if t.state == 'lost'):
                if a.label == b.label and 1 - iou(a.box, b.box) < 0.15:
                    drop.add(b.id if a.age > b.age else a.id)
                    self.seen_cases['older' if a.age > b.age else 'not older'] += 1
        self.tracks = [t for t in self.tracks if t.id not in drop]
        return [t for t in self.tracks if t.state == 'tracked']


def random_sequence(seed, frames=150, people=12, classes=2, dim=8):
    """People who walk, hide, leave, come back and look alike, with false alarms and misses.

    Some are seen twice, by two nearly equal boxes; some frames are empty, the first among them.
    """
    rng = np.random.default_rng(seed)
    position = rng.uniform(0, 500, (people, 2))
    velocity = rng.normal(0, 2, (people, 2))
    size = rng.uniform(20, 120, (people, 1)) * [0.4, 1.0]
    look = rng.normal(size=(people, dim)) + 1.0
    label = rng.integers(0, classes, people)
    away = np.zeros(people, dtype=int)
    for frame in range(frames):
        position = position + velocity + rng.normal(0, 1, position.shape)
        velocity = np.where((position < 0) | (position > 500), -velocity, velocity)
        away = np.maximum(away - 1, 0)
        leaves = (away == 0) & (rng.random(people) < 0.1)
        away[leaves] = rng.choice([1, 2, 7, 8, 9, 30, 31, 32, 60], leaves.sum())
        index = np.flatnonzero(away == 0)
        if rng.random() < 0.04 or (frame == 0 and seed % 2):
            index = index[:0]
        twice = rng.random(len(index)) < 0.15
        index = np.r_[index, index[twice]]
        alarms = rng.integers(0, 3)
        start = np.r_[position[index], rng.uniform(0, 500, (alarms, 2))]
        extent = np.r_[size[index], rng.uniform(20, 100, (alarms, 2))]
        start = start + rng.normal(0, 1, start.shape)
        embedding = np.r_[
            look[index] + rng.normal(0, 0.5, (len(index), dim)), rng.normal(size=(alarms, dim))
        ]
        yield {
            'boxes': np.c_[start, start + extent].astype(np.float32).astype(np.float64),
            'scores': rng.uniform(0.3, 1, len(start)).astype(np.float32).astype(np.float64),
            'labels': np.r_[label[index], rng.integers(0, classes, alarms)],
            'embeddings': embedding.astype(np.float32).astype(np.float64),
        }
