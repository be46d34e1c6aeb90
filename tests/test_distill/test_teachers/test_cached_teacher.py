import glob
import os
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS as ROOT

from mmkd.datasets.replay import ReplayDataset
from mmkd.distill.cache.comparison import masks_of
from mmkd.distill.cache.fidelity import compare, summarise
from mmkd.distill.cache.layout import shard_file
from mmkd.distill.cache.record import FIELD
from mmkd.distill.distillers.pictures import pictures_for
from mmkd.distill.teachers import CachedTeacher
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ...replay_toy import (
    PIPELINE,
    PREPROCESSOR,
    ColourTeacher,
    ToyPictures,
    draw_pictures,
    samples_of,
)
from ..toys import TINY

COLOURS = dict(type='mmkd.ColourTeacher')
PLAIN = tuple(step for step in PIPELINE if 'HSV' not in step['type'])
DINO = dict(type='mmkd.DINOv2Teacher', arch=dict(TINY), weights='random')


@pytest.fixture(autouse=True)
def _same_augmentation():
    """Warp mode draws a new one every time."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def preprocessor():
    return ROOT.build(dict(PREPROCESSOR))


@pytest.fixture
def pictures(tmp_path):
    return draw_pictures(tmp_path / 'pictures')


class Run:
    """A cached teacher and the training set that it wants, as a runner puts them together."""

    def __init__(
        self, tmp_path, pictures, preprocessor, teacher=None, taps=('map', 'mean'), **kwargs
    ):
        kwargs.setdefault('missing', 'build')
        pipeline = kwargs.pop('pipeline', PIPELINE)
        self.pictures, self.pipeline = pictures, pipeline
        self.teacher = MODELS.build(
            dict(
                type='mmkd.CachedTeacher',
                teacher=dict(teacher or COLOURS),
                path=str(tmp_path / 'cache'),
                **{'variants': 2, 'storage': 'fp32', 'verify': 4, **kwargs},
            )
        )
        self.teacher.request(taps)
        self.live = MODELS.build(dict(teacher or COLOURS))
        self.live.request(taps)
        self.preprocessor = preprocessor
        needs = self.teacher.data_needs()
        self.dataset = ReplayDataset(ToyPictures(pictures, pipeline), **needs)
        self.dataset.full_init()

    def build(self):
        self.dataset.build_cache(self.teacher, self.preprocessor)
        return self

    def batch(self, *indices):
        inputs, samples = samples_of(self.dataset, indices or range(4), self.preprocessor)
        images = pictures_for(self.teacher, inputs, self.preprocessor, 'img')
        return images, samples


def _same(one, other, atol=1e-6):
    assert set(one) == set(other)
    for name, value in one.items():
        assert value.shape == other[name].shape
        assert torch.allclose(value.float(), other[name].float(), atol=atol, rtol=1e-5), name


@pytest.fixture
def make(tmp_path, pictures, preprocessor):
    def make(**kwargs):
        return Run(tmp_path, pictures, preprocessor, **kwargs)

    return make


# Exact mode.


def test_it_gives_what_the_live_teacher_gives(make):
    run = make().build()
    for epoch in range(3):
        run.dataset.set_epoch(epoch)
        for indices in ((0, 1, 2, 3), (5, 4), (2,)):
            images, samples = run.batch(*indices)
            _same(run.teacher(images, samples), run.live(images))


def test_a_vision_transformer_too(make):
    run = make(teacher=DINO, taps=('last',)).build()
    images, samples = run.batch()
    _same(run.teacher(images, samples), run.live(images), atol=1e-4)


@pytest.mark.parametrize(
    ('storage', 'error'), [('bf16', 2**-8), ('pca-5', 0.03), ('pca-5-int8', 0.05)]
)
def test_what_storage_loses_is_little_and_was_measured(make, storage, error):
    run = make(storage=storage, taps=('map',)).build()
    images, samples = run.batch()
    found, live = run.teacher(images, samples)['map'].float(), run.live(images)['map']
    assert float((found - live).norm() / live.norm()) < error
    told = run.teacher.manifest.report['map']
    assert 0 < told['error'] < error
    assert told['cosine'] > 0.99


def test_after_the_comparison_the_live_teacher_is_gone(make, monkeypatch):
    run = make().build()
    images, samples = run.batch()
    run.teacher(images, samples)
    assert run.teacher.loaded
    assert not run.teacher.inner.loaded
    monkeypatch.setattr(ColourTeacher, 'extract', lambda self, x: 1 / 0)
    expected = run.teacher(images, samples)
    again = make()
    assert set(expected) == set(again.teacher.inner.channels)
    with pytest.raises(ZeroDivisionError):
        again.teacher(*again.batch())


def test_it_is_compared_as_it_was_built(make, monkeypatch):
    """Not in the student's mixed precision."""
    run = make().build()
    seen = []
    real = ColourTeacher.extract

    def extract(self, x):
        seen.append(torch.is_autocast_cpu_enabled())
        return real(self, x)

    monkeypatch.setattr(ColourTeacher, 'extract', extract)
    with torch.autocast('cpu', torch.bfloat16):
        run.teacher(*run.batch())
    assert seen
    assert not any(seen)


def test_with_and_without_a_cache_it_is_the_same_teacher(make):
    run = make().build()
    run.live.load()
    assert run.teacher.load().fingerprint() == run.live.fingerprint()
    run.teacher(*run.batch())
    assert not run.teacher.inner.loaded
    assert run.teacher.fingerprint() == run.live.fingerprint()
    assert run.teacher.extent((64, 96)) == run.live.extent((64, 96))
    assert run.teacher.target_size((65, 99)) == run.live.target_size((65, 99))


def test_records_go_through_processes(make):
    run = make().build()
    _, samples = run.batch(1)
    again = pickle.loads(pickle.dumps(samples[0]))
    record = again.get(FIELD)[run.teacher.path]
    assert record.picture == (64, 96)
    assert record.problem == ''
    assert torch.equal(
        record.tensors['map'], samples[0].get(FIELD)[run.teacher.path].tensors['map']
    )
    assert samples[0].to('cpu').get(FIELD) is not None


# Warp mode.


def test_warped_features_are_near_the_live_ones(make):
    run = make(mode='warp', pipeline=PLAIN, threshold=0.5).build()
    images, samples = run.batch()
    found, live = run.teacher(images, samples), run.live(images)
    assert run.teacher.manifest.canvas == (80, 120)
    assert found['map'].shape == live['map'].shape
    masks = masks_of(samples, images, (64, 96), live)
    near = summarise(compare(found['map'], live['map'], masks['map']))
    assert near.cosine > 0.98
    # The mean colour cannot be moved; it is the whole picture's.
    assert found['mean'].shape == live['mean'].shape


def test_other_colours_are_not_warped_away(make):
    """Features of colours against those of other colours: the comparison at the start finds it."""
    inverted = (*PLAIN[:1], dict(type='mmkd.Invert'), *PLAIN[1:])
    run = make(mode='warp', taps=('map',), pipeline=inverted).build()
    with pytest.raises(MMKDError, match='mean cosine of .map. is .*below threshold=0.95'):
        run.teacher(*run.batch())


def test_both_sides_of_the_mirror_are_read(make):
    run = make(mode='warp', pipeline=PLAIN, threshold=0.5).build()
    flips = set()
    for _ in range(20):
        images, samples = run.batch(0)
        matrix = samples[0].metainfo['homography_matrix']
        mirrored = float(matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0]) < 0
        record = samples[0].get(FIELD)[run.teacher.path]
        assert record.variant == mirrored
        flips.add((mirrored, float(record.tensors['map'].float().sum())))
        run.teacher(images, samples)
    assert {mirrored for mirrored, _ in flips} == {True, False}
    assert len(flips) == 2


def test_a_teacher_that_does_not_move_with_the_picture_is_refused(make):
    run = make(mode='warp', teacher=DINO, taps=('last',), threshold=0.999).build()
    with pytest.raises(MMKDError, match='mean cosine of .last. is 0.*below threshold=0.999'):
        run.teacher(*run.batch())


# What is missing.


def _damage(run):
    file = shard_file(run.teacher.path, 0)
    with open(file, 'r+b') as stream:
        stream.seek(-3, os.SEEK_END)
        value = stream.read(1)[0]
        stream.seek(-3, os.SEEK_END)
        stream.write(bytes([value ^ 16]))


def test_what_is_damaged_is_computed_live(make):
    run = make().build()
    _damage(run)
    run = make(missing='live')
    for indices in ((0, 5, 3), (5,), (1, 2)):
        run.dataset.set_epoch(0)
        for epoch in (0, 1):
            run.dataset.set_epoch(epoch)
            images, samples = run.batch(*indices)
            _same(run.teacher(images, samples), run.live(images))
    assert run.teacher.inner.loaded, 'it is needed'


def test_what_is_damaged_is_refused(make):
    _damage(make().build())
    run = make(missing='refuse')
    run.dataset.set_epoch(0)
    # The last record of the file: sample 5, variant 1.
    batch = run.batch(5)
    with pytest.raises(MMKDError, match='lacks a record.*checksum differs.*tools/cache_teacher.py'):
        run.teacher(*batch)


def test_without_a_cache(make):
    run = make(missing='live')
    images, samples = run.batch()
    _same(run.teacher(images, samples), run.live(images))
    with pytest.raises(MMKDError, match='no cache of a teacher'):
        make(missing='refuse').teacher.load()
    with pytest.raises(MMKDError, match="runner_type='mmkd.TrackRunner'"):
        make(missing='build').teacher.load()


def test_a_picture_of_another_size_is_another_picture(make):
    run = make(missing='live').build()
    images, samples = run.batch()
    wider = torch.nn.functional.pad(images, (0, 16))
    _same(run.teacher(wider, samples), run.live(wider))
    run = make(missing='refuse')
    with pytest.raises(MMKDError, match='was 64x96 when it was built, but is 64x112'):
        run.teacher(wider, run.batch()[1])


# A cache that lies.


def test_another_teacher_is_refused(make):
    make().build()
    with pytest.raises(MMKDError, match='not of this teacher.*another one: .* tensors differ'):
        make(teacher=dict(COLOURS, gain=1.01)).teacher.load()
    with pytest.raises(MMKDError, match='another one: channel_order was .rgb. and is .bgr.'):
        make(teacher=dict(COLOURS, channel_order='bgr')).teacher.load()


def test_other_taps_and_options_are_refused(make):
    make(taps=('map',)).build()
    with pytest.raises(MMKDError, match='mean is asked for, but map is stored'):
        make(taps=('map', 'mean')).teacher.load()
    with pytest.raises(MMKDError, match="storage was 'fp32' and is 'bf16'"):
        make(taps=('map',), storage='bf16').teacher.load()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(variants=3), 'variants was 2 and is 3'),
        (dict(seed=1), 'seed was 0 and is 1'),
    ],
)
def test_another_augmentation_is_refused(make, change, words):
    make().build()
    with pytest.raises(MMKDError, match=words):
        make(**change)


def test_another_picture_is_refused(make, pictures):
    make().build()
    first, second = (pictures / f'00{n}.png' for n in (1, 2))
    second.write_bytes(first.read_bytes())
    with pytest.raises(MMKDError, match='The data set: other pictures'):
        make()


def test_features_of_other_pictures_are_found_by_the_comparison(make, monkeypatch):
    """All hashes agree, and still something draws in another way here."""
    make().build()
    run = make()
    images, samples = run.batch()
    with pytest.raises(MMKDError, match='not what the live teacher gives'):
        run.teacher(images.flip(3), samples)


def test_samples_that_carry_nothing(make):
    run = make().build()
    images, samples = run.batch()
    for sample in samples:
        del sample.cached_features
    with pytest.raises(MMKDError, match='carry nothing of the cache.*mmkd.ReplayDataset'):
        run.teacher(images, samples)


# Building.


def test_a_build_goes_on_where_it_stopped(make):
    run = make().build()
    shards = sorted(glob.glob(os.path.join(run.teacher.path, 'shards', '*.safetensors')))
    before = {file: os.stat(file).st_mtime_ns for file in shards}
    make().build()
    assert {file: os.stat(file).st_mtime_ns for file in shards} == before
    os.unlink(shards[0].replace('.safetensors', '.json'))
    make().build()
    assert os.stat(shards[0]).st_mtime_ns != before[shards[0]]
    assert not glob.glob(os.path.join(run.teacher.path, 'shards', '*.claim'))


def test_wrong_options_are_named():
    good = dict(teacher=dict(COLOURS), path='cache')
    for change, words in (
        (dict(mode='exakt'), "no mode='exakt'. Did you mean 'exact'"),
        (dict(missing='life'), "no missing='life'. Did you mean 'live'"),
        (dict(storage='int8'), 'storage= is'),
        (dict(verify=0), 'verify is a whole number, 1 or more'),
        (dict(variants=True), 'variants is a whole number'),
        (dict(threshold=2), 'threshold is a cosine'),
        (dict(path=''), 'path= is the folder'),
        (dict(teacher=dict(type='mmkd.EMATeacher')), 'changes during training'),
        (dict(teacher=CachedTeacher(**good)), 'wraps a teacher'),
    ):
        with pytest.raises(MMKDError, match=words):
            CachedTeacher(**{**good, **change})
