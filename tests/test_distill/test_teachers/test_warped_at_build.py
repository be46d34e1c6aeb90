"""How near warped features are to the live teacher's, as it is measured when a cache is built."""

import json
import multiprocessing
import os
import random

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS as ROOT

from mmkd.apis import doctor_cache
from mmkd.apis.cache_teacher import report_lines
from mmkd.apis.doctor_page import Section
from mmkd.datasets import build_cache
from mmkd.datasets.replay_random import replayed
from mmkd.distill.cache import builder, live
from mmkd.distill.cache.layout import shard_file
from mmkd.distill.cache.manifest import Manifest
from mmkd.distill.cache.reader import CacheReader
from mmkd.distill.cache.store import load_codecs

from ...replay_toy import PREPROCESSOR, ToyPictures, draw_pictures
from .test_cached_teacher import PIPELINE, PLAIN, Run

KEYS = ('live_cosine', 'live_lowest', 'live_error')
INVERTED = (*PLAIN[:1], dict(type='mmkd.Invert'), *PLAIN[1:])
# Of the toys: pictures, and the canvas that ColourTeacher sees them on.
HEIGHT, WIDTH, SCALE, STRIDE = 60, 100, 1.2, 4


@pytest.fixture
def make(tmp_path):
    pictures = draw_pictures(tmp_path / 'pictures')

    def make(folder='one', **kwargs):
        preprocessor = ROOT.build(dict(PREPROCESSOR))
        kwargs = {'mode': 'warp', **kwargs}
        return Run(tmp_path / folder, pictures, preprocessor, **kwargs)

    return make


def _seed(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _state():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def _report(run):
    return Manifest.load(run.teacher.path).report


def _read(plane, u, v):
    """Bilinear, between the centres of cells; beyond the last ones it stays as it is."""
    rows, columns = plane.shape[1:]
    u, v = min(max(u, 0), columns - 1), min(max(v, 0), rows - 1)
    left, top = int(u), int(v)
    right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
    a, b = u - left, v - top
    upper = (1 - a) * plane[:, top, left] + a * plane[:, top, right]
    lower = (1 - a) * plane[:, bottom, left] + a * plane[:, bottom, right]
    return (1 - b) * upper + b * lower


def _reference(run, wrong_side=False):
    """Place by place, out of the records that were built, from the definitions."""
    reader = CacheReader(run.teacher.path)
    manifest = reader.manifest
    codecs = load_codecs(run.teacher.path, manifest, run.live.channels)
    pictures = ToyPictures(run.pictures, run.pipeline)
    cosines, square, norm, sides = [], 0.0, 0.0, set()
    for number in range(6):
        with replayed(0, number):
            drawn = pictures[number]
        image = drawn['inputs'].flip(0)[None].float()
        wanted = run.live(image)['map'][0].double().numpy()
        matrix = np.array(drawn['data_samples'].metainfo['homography_matrix'])
        mirrored = bool(matrix[0, 0] * matrix[1, 1] < matrix[0, 1] * matrix[1, 0])
        sides.add(mirrored)
        record = reader.read(number, int(mirrored != wrong_side))
        stored = codecs['map'].decode(record.tensors['map'])[0].double().numpy()
        back, found = np.linalg.inv(matrix), []
        for row in range(wanted.shape[1]):
            for column in range(wanted.shape[2]):
                place = [STRIDE * (column + 0.5), STRIDE * (row + 0.5), 1]
                x, y = (back @ place)[:2]
                if not (0 <= x <= WIDTH and 0 <= y <= HEIGHT):
                    continue
                x = WIDTH - x if mirrored else x
                here = _read(stored, SCALE * x / STRIDE - 0.5, SCALE * y / STRIDE - 0.5)
                there = wanted[:, row, column]
                found.append(here @ there / np.linalg.norm(here) / np.linalg.norm(there))
                square += ((here - there) ** 2).sum()
                norm += (there**2).sum()
        cosines.append(np.mean(found))
    assert sides == {True, False}
    return {
        'live_cosine': np.mean(cosines),
        'live_lowest': np.min(cosines),
        'live_error': (square / norm) ** 0.5,
    }


@pytest.mark.parametrize('storage', ['fp32', 'pca-2-int8'])
@pytest.mark.parametrize('pipeline', [PLAIN, PIPELINE], ids=['places', 'places and colours'])
def test_it_is_what_the_definition_says(make, storage, pipeline):
    run = make(storage=storage, pipeline=pipeline).build()
    found = _report(run)['map']
    expected = _reference(run)
    for key in KEYS:
        assert found[key] == pytest.approx(expected[key], abs=2e-4), key
    assert found['live_error'] > found['error'], 'warping costs more than storing'
    assert found['live_lowest'] < found['live_cosine'] < 1


def test_the_wrong_side_of_the_mirror_gives_another_number(make, monkeypatch):
    right = make(pipeline=PLAIN).build()
    real = build_cache.variant_of
    monkeypatch.setattr(build_cache, 'variant_of', lambda sample: 1 - real(sample))
    wrong = make('two', pipeline=PLAIN).build()
    for key, value in _reference(right, wrong_side=True).items():
        found = _report(wrong)['map'][key]
        assert found == pytest.approx(value, abs=2e-4), key
    assert _report(wrong)['map']['live_cosine'] < _report(right)['map']['live_cosine'] - 0.01
    assert _report(wrong)['map']['live_error'] > 2 * _report(right)['map']['live_error']


def test_vectors_are_compared_as_they_are(make):
    run = make().build()
    cosines = []
    for number in range(6):
        with replayed(0, number):
            drawn = ToyPictures(run.pictures)[number]
        mean = run.live(drawn['inputs'].flip(0)[None].float())['mean'][0]
        matrix = np.array(drawn['data_samples'].metainfo['homography_matrix'])
        record = CacheReader(run.teacher.path).read(number, int(np.linalg.det(matrix) < 0))
        kept = record.tensors['mean'][0]
        cosines.append(float(kept @ mean / kept.norm() / mean.norm()))
    assert _report(run)['mean']['live_cosine'] == pytest.approx(np.mean(cosines), abs=1e-4)
    assert _report(run)['mean']['live_lowest'] == pytest.approx(min(cosines), abs=1e-4)


def test_it_is_the_same_at_every_build(make):
    _seed(1)
    first = make().build()
    _seed(2)
    assert _report(make('two').build()) == _report(first)


def test_training_draws_what_it_would_have_drawn(make, monkeypatch):
    _seed(3)
    make().build()
    measured = _state()
    monkeypatch.setattr(live, 'measure', lambda *args: {})
    _seed(3)
    run = make('two').build()
    assert 'live_cosine' not in _report(run)['map']
    assert measured == _state()


def test_exact_mode_has_nothing_to_warp(make):
    run = make(mode='exact').build()
    assert set(_report(run)['map']) == {'explained', 'cosine', 'lowest', 'error'}
    assert len(report_lines(run.teacher.path)) == 2


# Who reads it.


def _join(make, barrier, results):
    torch.set_num_threads(1)
    calls, real = [], live.measure

    def measure(*args):
        calls.append(1)
        return real(*args)

    live.measure = measure
    run = make()
    barrier.wait(60)
    run.build()
    results.put((len(calls), _report(run)))


def test_of_two_processes_one_measures_and_both_read_it(make):
    context = multiprocessing.get_context('fork')
    barrier, results = context.Barrier(2), context.Queue()
    builders = [context.Process(target=_join, args=(make, barrier, results)) for _ in range(2)]
    for each in builders:
        each.start()
    found = [results.get(timeout=120) for _ in builders]
    for each in builders:
        each.join(60)
    assert [each.exitcode for each in builders] == [0, 0]
    assert sum(calls for calls, _ in found) == 1
    assert found[0][1] == found[1][1]
    assert set(KEYS) <= set(found[0][1]['map'])


def test_repairing_keeps_it(make, monkeypatch):
    run = make().build()
    before = _report(run)
    os.truncate(shard_file(run.teacher.path, 0), 100)
    monkeypatch.setattr(live, 'measure', lambda *args: 1 / 0)
    assert list(builder.verify(run.teacher.path, repair=True)) == [0]
    make().build()
    assert builder.verify(run.teacher.path) == {}
    assert _report(run) == before
    assert set(KEYS) <= set(before['map'])


def _forget(path):
    """Makes the manifest one of before this was measured."""
    file = os.path.join(path, 'manifest.json')
    with open(file) as stream:
        content = json.load(stream)
    for entry in content['report'].values():
        for key in KEYS:
            del entry[key]
    with open(file, 'w') as stream:
        json.dump(content, stream)


def test_older_caches_do_without(make):
    run = make(pipeline=PLAIN, threshold=0.5).build()
    owner = Manifest.load(run.teacher.path).owner
    _forget(run.teacher.path)
    assert Manifest.load(run.teacher.path).owner == owner
    again = make(pipeline=PLAIN, threshold=0.5)
    again.build()
    images, samples = again.batch()
    assert again.teacher(images, samples)['map'].shape == again.live(images)['map'].shape
    assert len(report_lines(run.teacher.path)) == 2
    assert live.too_far(run.teacher.path, _report(run), 0.9999) == []


# What is said of it.


@pytest.fixture
def said(monkeypatch):
    found = []
    monkeypatch.setattr(build_cache, 'print_log', lambda text, **kwargs: found.append(text))
    return found


def test_too_far_is_said_and_the_cache_is_built(make, said):
    run = make(pipeline=INVERTED, taps=('map',)).build()
    value = _report(run)['map']['live_cosine']
    assert value < 0.95
    (text,) = said
    assert f'Training will refuse the cache {run.teacher.path!r}' in text
    assert f"'map' has a mean cosine of {value:.4f}" in text
    assert 'below threshold=0.95' in text
    for remedy in ('canvas=', 'storage=', "mode='exact'", 'lower threshold='):
        assert remedy in text
    assert CacheReader(run.teacher.path).missing() == []
    make(pipeline=INVERTED, taps=('map',)).build()
    assert len(said) == 1, 'building is tried again every second while others build'
    # The threshold is no part of the cache.
    lower = make(pipeline=INVERTED, taps=('map',), threshold=-1.0)
    lower.teacher(*lower.batch())


def test_near_enough_is_no_warning(make, said):
    run = make(pipeline=PLAIN, taps=('map',), threshold=0.9).build()
    assert _report(run)['map']['live_cosine'] > 0.9
    assert not said


def test_nan_is_too_far():
    entry = dict(live_cosine=float('nan'), live_lowest=0.5, live_error=0.1)
    assert live.too_far('cache', {'map': entry}, -1.0)


def test_the_command_tells_both_numbers(make):
    run = make(taps=('map',)).build()
    found = _report(run)['map']
    stored, warped = report_lines(run.teacher.path)
    assert stored.startswith(f'map: cosine {found["cosine"]:.4f} (lowest')
    assert stored.endswith('100.0% of the variance')
    assert warped == (
        f'map, warped, against the live teacher: cosine {found["live_cosine"]:.4f} '
        f'(lowest {found["live_lowest"]:.4f}), error {found["live_error"]:.2%}'
    )


def test_the_doctor_tells_it_and_warns(make):
    run = make(pipeline=INVERTED, taps=('map',)).build()
    section = Section('model')
    doctor_cache._tell('main', run.teacher, section)
    told = [block.value for block in section.blocks]
    assert [f'main: {line}' for line in report_lines(run.teacher.path)] == told[1:]
    assert section.data['cache']['main'] == _report(run)
    (problem,) = section.problems
    assert not problem.stops
    assert 'Training will refuse' in problem.text
    assert 'larger canvas=' in problem.remedy
