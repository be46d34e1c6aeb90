"""The tutorials' own commands and configs, as a new user would enter them, on tiny data."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip('mmtrack')
from mmengine.config import Config

from mmkd.datasets.converters.mot import convert, parse_classes
from mmkd.datasets.synthetic import SceneConfig, write_sequence
from mmkd.errors import MMKDError

from .test_datasets.mot_folder import make_sequence

REPO = Path(__file__).resolve().parent.parent
TEXT = (REPO / 'docs/tutorials/custom_data.md').read_text(encoding='utf-8')
SIZE = (160, 96)
FRAMES = {'street1': 8, 'street2': 8, 'street3': 8, 'street4': 8, 'square': 6}
# What makes the tutorial's training a matter of seconds.
SMALL = f"""
_base_.train_pipeline[3].scale = _base_.test_pipeline[2].scale = {SIZE}
train_dataloader['dataset']['pipeline'] = _base_.train_pipeline
val_dataloader['dataset']['pipeline'] = _base_.test_pipeline
train_dataloader.update(num_workers=0, persistent_workers=False)
val_dataloader.update(num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs=1)
"""


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```$', TEXT, re.MULTILINE | re.DOTALL)


def own_config():
    (text,) = blocks('python')
    return text


def draw_clip(folder, name, seed):
    """A video and its labels: persons (class 1) and cars (class 2)."""
    config = SceneConfig(
        width=SIZE[0], height=SIZE[1], frames=FRAMES[name], walkers=3, vehicles=2, seed=seed
    )
    sequence = folder / 'drawn' / name
    write_sequence(str(sequence), config)
    clips = folder / 'clips'
    clips.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(
        str(clips / f'{name}.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), config.fps, SIZE
    )
    for path in sorted((sequence / 'img1').iterdir()):
        writer.write(cv2.imread(str(path)))
    writer.release()
    rows = [line.split(',') for line in (sequence / 'gt/gt.txt').read_text().split()]
    lines = [','.join([*row[:7], {'1': '1', '3': '2'}[row[7]]]) for row in rows]
    (clips / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    return len({row[1] for row in rows if row[6] != '0'})


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    """What the user's clone has, without its data and results."""
    folder = tmp_path_factory.mktemp('clone')
    (folder / 'tools').symlink_to(REPO / 'tools')
    (folder / 'configs').mkdir()
    for name in ('_base_', 'mot'):
        (folder / 'configs' / name).symlink_to(REPO / 'configs' / name)
    (folder / 'configs/mine').mkdir()
    return folder


def enter(clone, commands):
    """Runs a block of the tutorial in a shell and returns what it printed."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    result = subprocess.run(
        ['bash', '-e', '-c', commands.replace('epoch_5', 'epoch_1')],
        cwd=clone,
        env=dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(REPO), PATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


@pytest.mark.slow
def test_from_videos_to_a_trained_scored_and_drawn_tracker(clone):
    tracks = {name: draw_clip(clone, name, seed) for seed, name in enumerate(FRAMES)}
    (clone / 'configs/mine/street.py').write_text(own_config() + SMALL)
    extract, annotate, train, test, demo = blocks('bash')

    enter(clone, extract)
    printed = enter(clone, annotate)
    square = tracks.pop('square')
    totals = re.findall(r'in all +(\d+) frames +\d+ boxes +(\d+) ids', printed)
    assert totals == [('32', str(sum(tracks.values()))), ('6', str(square))]
    content = json.loads((clone / 'data/mine/annotations/train.json').read_text())
    assert [c['name'] for c in content['categories']] == ['person', 'car']
    assert {a['category_id'] for a in content['annotations']} == {1, 2}

    printed = enter(clone, train)
    assert '/8]' in printed
    printed = enter(clone, test)
    for name in ('overall', 'person', 'car'):
        assert f'Tracking scores ({name})' in printed
    scores = json.loads((clone / 'work_dirs/street/scores.json').read_text())
    assert list(scores) == ['overall', 'person', 'car']
    assert all(list(table) == ['square', 'COMBINED'] for table in scores.values())
    assert (clone / 'work_dirs/street/scores.csv').is_file()

    printed = enter(clone, demo)
    assert 'WARNING' not in printed
    reader = cv2.VideoCapture(str(clone / 'work_dirs/street/demo/square.mp4'))
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES['square']


def test_the_config_is_about_ten_lines_and_says_the_classes_everywhere(clone):
    lines = [line for line in own_config().splitlines() if line.strip()]
    assert len(lines) <= 10
    (real,) = re.findall(r'^    (_base_ = .*)$', TEXT, re.MULTILINE)
    for first in (lines[0], real):
        path = clone / 'configs/mine/other.py'
        path.write_text('\n'.join([first, *lines[1:]]))
        cfg = Config.fromfile(str(path))
        loaders = [cfg[f'{part}_dataloader'].dataset for part in ('train', 'val', 'test')]
        assert [tuple(d.metainfo.classes) for d in loaders] == [('person', 'car')] * 3
        assert [d.data_root for d in loaders] == ['data/mine/'] * 3
        names = [d.ann_file.rpartition('/')[2] for d in loaders]
        assert names == ['train.json', 'val.json', 'val.json']
        assert [d.data_prefix.img_path for d in loaders] == ['train', 'val', 'val']
        assert cfg.model.head.num_classes == 2
        assert (cfg.model.tracker.min_area, cfg.model.tracker.max_aspect) == (0, None)


def test_the_scale_is_changed_as_told(clone):
    (_, scale) = blocks('text')
    path = clone / 'configs/mine/scaled.py'
    path.write_text(
        own_config()
        + scale
        + "train_dataloader['dataset'].update(pipeline=_base_.train_pipeline)\n"
        + "val_dataloader['dataset'].update(pipeline=_base_.test_pipeline)\n"
    )
    cfg = Config.fromfile(str(path))
    for part in ('train', 'val', 'test'):
        steps = {s['type']: s for s in cfg[f'{part}_dataloader'].dataset.pipeline}
        assert tuple(steps['mmkd.Letterbox']['scale']) == (864, 480)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (['1,1,0,0,9,9,1,1', '1,1,20,0,9,9,1,2'], 'same frame and id as an earlier line'),
        (['0,1,0,0,9,9,1,1'], 'a frame without an image, 0 (there are 1 to 4)'),
        (['1,1,0,0,nan,9,1,1'], 'a number that is not finite'),
        (['1,1,0,0'], 'columns where at least 7 are needed'),
        (['1,1,0,0,0,9,1,1'], 'a box without area'),
    ],
)
def test_messages_are_those_of_the_table(tmp_path, rows, message):
    make_sequence(tmp_path / 'train', 'a', rows)
    with pytest.raises(MMKDError, match=re.escape(message)):
        convert(str(tmp_path / 'train'), str(tmp_path / 'a.json'), classes=parse_classes('1:a,2:b'))
    assert message.replace('1 to 4', '1 to 120') in TEXT


def test_classes_that_were_not_named_are_counted_as_told(tmp_path):
    make_sequence(tmp_path / 'train', 'a', ['1,1,0,0,9,9,1,1', '1,2,0,0,9,9,1,3'])
    report = convert(str(tmp_path / 'train'), str(tmp_path / 'a.json'), classes={1: 'person'})
    (reason,) = report['sequences'][0]['skipped']
    assert f'lines, {reason}`' in TEXT
