"""The benchmark and what it loads the original with, on a checkout that is ours and tiny."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmkd.errors import MMKDError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'tools' / 'analysis_tools'
# It numbers the detections of a frame, and asks for all that a real one asks for.
TRACKER = """
import logging
import numpy as np
import torch
import torch.nn.functional as F
from numba import jit
from cython_bbox import bbox_overlaps
from models import *
from models.model import create_model, load_model
from models.decode import mot_decode
from models.utils import _tranpose_and_gather_feat
from tracking_utils.utils import *
from utils.image import get_affine_transform
from utils.post_process import ctdet_post_process
from .tracks import Track, numbers

logger = logging.getLogger()
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.StreamHandler())


class JDETracker:
    def __init__(self, opt, frame_rate=30):
        print('noise')
        self.opt, self.frame_rate = opt, frame_rate
        model = create_model(opt.arch, opt.heads, opt.head_conv)
        self.model = load_model(model, opt.load_model).to('cpu')
        self.model.eval()

    def update(self, blob, image):
        meta = blob.shape[2] // self.opt.down_ratio, image.shape[1]
        output = self.model(blob)[-1]
        dets, inds = mot_decode(output['hm'].sigmoid_(), output['wh'], reg=output['reg'], K=5)
        feature = _tranpose_and_gather_feat(F.normalize(output['id'], dim=1), inds)
        self.embeddings = feature.squeeze(0).cpu().numpy()
        table = ctdet_post_process(dets.detach().cpu().numpy(), [meta], 1)[0][1]
        self.overlaps = bbox_overlaps(table[:, :4].astype(np.float), table[:, :4].astype(np.float))
        logger.debug('every frame')
        table = table[table[:, 4] > self.opt.conf_thres]
        return [Track(i, row[:4]) for i, row in zip(numbers(len(table)), table)]
"""
TRACKS = """
import numpy as np


class Track:
    def __init__(self, track_id, tlbr):
        self.track_id, self.tlbr = track_id, tlbr


def numbers(count):
    return np.arange(1, count + 1, dtype=np.int)
"""


@pytest.fixture
def checkout(tmp_path):
    library = tmp_path / 'FairMOT' / 'src' / 'lib'
    for name, text in {'multitracker': TRACKER, 'tracks': TRACKS}.items():
        path = library / 'tracker' / f'{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / 'FairMOT'


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in ('original_tracker', 'benchmark_association'):
        sys.modules.pop(name, None)


def test_the_original_gets_the_detections_and_leaves_no_trace(tool, checkout, capfd):
    original_tracker = tool('original_tracker')
    before = list(sys.path), set(sys.modules) | {'cython_bbox', 'numba'}
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    original = original_tracker.OriginalTracker(checkout, fps=7, conf_thr=0.3)
    boxes = np.array([[0.0, 0, 9, 19], [5, 5, 6, 6], [0, 10, 9, 19]])
    embeddings = np.array([[3.0, 4], [1, 0], [0, 2]])
    original.feed(boxes, np.array([0.5, 0.2, 0.9]), embeddings)
    found = original.step()
    assert list(found) == [1, 2]
    np.testing.assert_array_equal(found[2], boxes[2])
    inner = original.tracker
    assert (inner.frame_rate, inner.opt.conf_thres, inner.opt.track_buffer) == (7, 0.3, 30)
    np.testing.assert_allclose(inner.embeddings, [[0.6, 0.8], [1, 0], [0, 1]])
    assert inner.overlaps[0, 2] == 0.5  # compiled or ours: 10 of 20 pixel rows
    original.feed(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 2)))
    assert original.step() == {}

    assert sys.path == before[0]
    left = {name for name in set(sys.modules) - before[1] if name.split('.')[0] in PARTS}
    assert not left
    assert logging.getLogger().level == level
    assert logging.getLogger().handlers == handlers
    assert capfd.readouterr() == ('', '')


PARTS = ('tracker', 'tracking_utils', 'models', 'utils')


def test_the_stand_in_for_cython_bbox_counts_whole_pixels(tool):
    overlaps = tool('original_tracker').overlaps
    boxes = np.array([[0.0, 0, 2, 2], [7, 7, 9, 9], [3, 0, 3, 2]])
    expected = [[1, 0.5, 0], [0, 0, 0], [0, 3 / 9, 1]]
    others = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [3, 0, 3, 2]])
    np.testing.assert_allclose(overlaps(boxes[[0, 1, 2]], others)[0], expected[0])
    np.testing.assert_allclose(overlaps(boxes, others)[1:], [[0, 0, 0], [0, 3 / 9, 1]])
    assert overlaps(np.zeros((0, 4)), others).shape == (0, 3)


def test_a_folder_that_is_no_checkout_is_an_error(tool, tmp_path):
    with pytest.raises(MMKDError, match=r'no checkout of FairMOT.*git clone'):
        tool('original_tracker').OriginalTracker(tmp_path)


def test_a_checkout_that_needs_what_is_missing_is_an_error(tool, checkout):
    path = checkout / 'src' / 'lib' / 'tracker' / 'multitracker.py'
    path.write_text('import no_such_package\n' + path.read_text())
    with pytest.raises(MMKDError, match='no_such_package'):
        tool('original_tracker').OriginalTracker(checkout)


def run(tool, monkeypatch, capsys, *arguments):
    benchmark = tool('benchmark_association')
    monkeypatch.setattr(sys, 'argv', ['benchmark_association.py', *arguments])
    benchmark.main()
    return capsys.readouterr().out


SMALL = ('--tracks', '5', '--frames', '4', '--dims', '8')


def test_it_tells_our_time_alone_without_a_checkout(tool, monkeypatch, capsys):
    told = run(tool, monkeypatch, capsys, *SMALL)
    assert '4 frames of 5 detections, up to 5 tracks, 8-d embeddings' in told
    assert re.search(r'mmkd +\d+\.\d{3} ms per frame', told)
    assert 'nothing to compare with' in told
    assert 'ratio' not in told


def test_it_tells_the_memory_of_both(tool, monkeypatch, capsys, checkout):
    told = run(
        tool,
        monkeypatch,
        capsys,
        '--memory',
        *SMALL,
        '--turnover',
        '0.5',
        '--original',
        str(checkout),
    )
    held = re.findall(r'(mmkd|original) +frame +(\d+): +\d+\.\d\d MiB', told)
    assert held == [(name, str(n)) for name in ('mmkd', 'original') for n in (1, 2, 3, 4)]


def test_people_come_and_go_and_are_overlooked(tool):
    crowd = tool('benchmark_association').crowd
    frames = [frame for _, frame in zip(range(200), crowd(50, 4, 0.1, 0.2, seed=1))]
    assert 38 < np.mean([len(frame.boxes) for frame in frames]) < 42
    assert all((frame.boxes[:, 2:] > frame.boxes[:, :2]).all() for frame in frames)
    steady = [frame for _, frame in zip(range(200), crowd(50, 4, 0, 0, seed=1))]
    assert {len(frame.boxes) for frame in steady} == {50}
    # The same people in the same order: their looks are alike from frame to frame.
    products = (steady[0].embeddings * steady[-1].embeddings).sum(axis=1)
    assert (products > 0).mean() > 0.9


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [(('--tracks', '0'), '--tracks is 0'), (('--missed', '1'), r'--missed is 1.0.*0\.\.1')],
)
def test_numbers_that_make_no_sense_are_errors(tool, monkeypatch, capsys, arguments, message):
    with pytest.raises(MMKDError, match=message):
        run(tool, monkeypatch, capsys, *arguments)


def test_as_a_command_beside_an_original(checkout):
    done = subprocess.run(
        [sys.executable, FOLDER / 'benchmark_association.py', *SMALL, '--original', checkout],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"mmkd needs \d+\.\d{3} of the original's time \(1 / \d", done.stdout)
    assert 'same tracks in 4 of 4 frames' in done.stdout
