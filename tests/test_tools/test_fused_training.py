"""A whole training with FusedAugment, with the live teacher and with a cache of it."""

import math

import pytest

from ..test_end_to_end import REPO, draw_sets, openmmlab_tool, options, run, scalars

SCALE = (160, 96)
FRAMES, VARIANTS, EPOCHS = 16, 2, 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Four times as wide as what the student sees, so that the decoder leaves something out."""
    folder = tmp_path_factory.mktemp('data')
    return draw_sets(folder, {'train': FRAMES, 'val': 2}, (4 * SCALE[0], 4 * SCALE[1]))


@pytest.fixture(scope='module')
def fused(tmp_path_factory):
    """The quickstart's distillation, with the five transforms in one."""
    file = tmp_path_factory.mktemp('config') / 'fused.py'
    file.write_text(
        f"_base_ = '{REPO}/configs/kd/fairmot_dinov2_synthetic.py'\n"
        'train_pipeline = [\n'
        "    dict(type='mmtrack.LoadTrackAnnotations', with_instance_id=True),\n"
        f"    dict(type='mmkd.FusedAugment', scale={SCALE}),\n"
        "    dict(type='mmtrack.PackTrackInputs', pack_single_img=True,\n"
        "         meta_keys=('homography_matrix', 'fps')),\n"
        ']\n'
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )
    return file


@pytest.fixture(scope='module')
def cached(fused):
    """The same, from a cache."""
    file = fused.parent / 'cached.py'
    file.write_text(
        "_base_ = './fused.py'\n"
        "model = dict(teacher=dict(_delete_=True, type='mmkd.CachedTeacher', "
        f"teacher={{{{_base_.model.teacher}}}}, path='{fused.parent}/cache', "
        f"variants={VARIANTS}, missing='refuse'))\n"
    )
    return file


def _options(data, epochs=1):
    """Without the scale of the fourth transform, which is none here."""
    kept = [each for each in options(data) if not each.startswith('train_dataloader.dataset.pipe')]
    changed = (f'train_cfg.max_epochs={epochs}', 'train_cfg.val_interval=9', 'randomness.seed=0')
    return ('--cfg-options', *kept, *changed)


def _losses(work):
    steps = [line for line in scalars(work) if 'loss' in line]
    for step in steps:
        numbers = [value for value in step.values() if isinstance(value, (int, float))]
        assert all(map(math.isfinite, numbers)), step
        assert step['kd_neck'] > 0
        assert step['loss_kd_neck'] > 0
    return steps


def test_a_student_learns_from_it(fused, data, tmp_path):
    run(openmmlab_tool('train'), fused, '--work-dir', tmp_path, *_options(data, EPOCHS))
    steps = _losses(tmp_path)
    assert len(steps) == EPOCHS * FRAMES // 4
    # Means of all steps so far: they fall more slowly than the losses.
    for name in ('loss', 'loss_det', 'kd_neck'):
        assert steps[-1][name] < 0.95 * steps[0][name], name


def test_its_pictures_are_those_of_the_cache(cached, data, tmp_path):
    told = run('tools/cache_teacher.py', cached, '--batch', 4, *_options(data))
    assert f'{FRAMES} x {VARIANTS} augmentation(s)' in told
    told = run(
        *(openmmlab_tool('train'), cached, '--work-dir', tmp_path),
        *_options(data, VARIANTS),
    )
    assert 'has 1 of 1 shards' in told
    assert told.count('against the live teacher') == 1
    assert 'cosine 1.0000' in told
    assert 'runs live there' not in told
    assert len(_losses(tmp_path)) == VARIANTS * FRAMES // 4


@pytest.mark.parametrize('change', ['degrees=6', 'reduce=False'])
def test_other_settings_of_it_are_another_cache(cached, data, change):
    told = run(
        *('tools/cache_teacher.py', cached, *_options(data)),
        f'train_dataloader.dataset.pipeline.1.{change}',
        expect=1,
    )
    assert 'other parameters of dataset.pipeline[1] FusedAugment' in told
