"""The tracker beside a slow one of ours and, where there is a checkout, beside FairMOT's own."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd.models.trackers import JDETracker

from .reference import ReferenceTracker, random_sequence

TOOL = Path(__file__).parents[3] / 'tools' / 'analysis_tools' / 'original_tracker.py'
FAIRMOT = os.environ.get('MMKD_FAIRMOT')
# What the tracker calls the columns of a frame, and what the sequence does.
NAMES = {'bboxes': 'boxes', 'scores': 'scores', 'labels': 'labels', 'embeddings': 'embeddings'}


def test_same_tracks_as_the_slow_reference():
    cases = Counter()
    for seed, fps in enumerate([30, 10, 7, 30, 60, 29.97, 0.5]):
        tracker, reference = JDETracker(), ReferenceTracker()
        for frame, data in enumerate(random_sequence(seed)):
            got = tracker.track(
                3 * frame,  # counted are the frames that the tracker gets
                **{name: torch.tensor(data[key]) for name, key in NAMES.items()},
                fps=fps,
            )
            want = sorted(reference.track(**data, fps=fps), key=lambda t: t.id)
            assert got.instances_id.tolist() == [t.id for t in want], f'{fps} fps, frame {frame}'
            assert got.labels.tolist() == [t.label for t in want]
            np.testing.assert_allclose(got.scores.numpy(), [t.score for t in want], rtol=1e-6)
            boxes = np.array([t.box for t in want]).reshape(-1, 4)
            np.testing.assert_allclose(got.bboxes.numpy(), boxes, rtol=1e-6, atol=1e-4)
            known = [] if tracker._tracks is None else tracker._tracks.ids
            assert {t.id for t in reference.tracks} == set(known)
        cases += reference.seen_cases
    # The sequences were hard enough to mean something.
    for rule in ('found after its time', 'lost again', 'older', 'not older'):
        assert cases[rule] >= 5, cases


@pytest.mark.skipif(not FAIRMOT, reason='MMKD_FAIRMOT names no checkout of ifzhang/FairMOT')
@pytest.mark.parametrize('fps', [30, 10, 7, 29.97, 0.5])
def test_same_tracks_as_fairmot_itself(fps):
    spec = importlib.util.spec_from_file_location('original_tracker', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for seed in range(5):
        tracker, original = JDETracker(), tool.OriginalTracker(FAIRMOT, fps=fps)
        for frame, data in enumerate(random_sequence(seed, people=5 + 5 * seed, classes=1)):
            got = tracker.track(
                frame, **{name: torch.tensor(data[key]) for name, key in NAMES.items()}, fps=fps
            )
            original.feed(data['boxes'], data['scores'], data['embeddings'])
            want = original.step()
            assert got.instances_id.tolist() == sorted(want), f'seed {seed}, frame {frame}'
            boxes = np.array([want[i] for i in sorted(want)]).reshape(-1, 4)
            np.testing.assert_allclose(got.bboxes.numpy(), boxes, rtol=1e-6, atol=1e-4)
            lists = original.tracker.tracked_stracks + original.tracker.lost_stracks
            rows = [] if tracker._tracks is None else tracker._tracks.ids.tolist()
            assert rows == [track.track_id for track in lists]
