"""The command lines, run in this process."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from ..mot_folder import make_crowdhuman, make_jde_image, make_sequence

REPO = Path(__file__).parents[3]
PETS = REPO.parent / 'shared' / 'data' / 'PETS09-S2L1'


def call(monkeypatch, tool, *args):
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    runpy.run_path(str(REPO / 'tools' / 'dataset_converters' / tool), run_name='__main__')


def test_mot2coco_writes_the_whole_and_the_halves(monkeypatch, tmp_path, capsys):
    make_sequence(tmp_path / 'train', 'a', ['1,4,2,3,10,20,1,1,1', 'bad'])
    call(monkeypatch, 'mot2coco.py', '-i', tmp_path / 'train', '-o', tmp_path / 'ann',
         '--split-half', '--skip-bad')  # fmt: skip
    names = ['half-train.json', 'half-val.json', 'train.json']
    assert sorted(p.name for p in (tmp_path / 'ann').iterdir()) == names
    out = capsys.readouterr().out
    assert 'left out: 1 x' in out
    assert '1 ids' in out
    with pytest.raises(SystemExit, match='error: These files exist.*--force'):
        call(monkeypatch, 'mot2coco.py', '-i', tmp_path / 'train', '-o', tmp_path / 'ann')


def test_mot2coco_frames_and_name(monkeypatch, tmp_path):
    make_sequence(tmp_path / 'train', 'a', ['1,4,2,3,10,20,1,1,1'])
    call(monkeypatch, 'mot2coco.py', '-i', tmp_path / 'train', '-o', tmp_path, '--name', 'few',
         '--frames', '2:3', '--fps', '5')  # fmt: skip
    content = json.loads((tmp_path / 'few.json').read_text())
    assert len(content['images']) == 2
    assert content['videos'][0]['fps'] == 5


@pytest.mark.parametrize(
    ('args', 'lengths'),
    [
        (['--split-half'], [3, 1]),
        (['--split-half', 'mmtrack'], [3, 1]),
        (['--split-half', 'fairmot'], [2, 2]),
    ],
)
def test_mot2coco_halves(monkeypatch, tmp_path, args, lengths):
    make_sequence(tmp_path / 'train', 'a', ['1,4,2,3,10,20,1,1,1'])
    call(monkeypatch, 'mot2coco.py', '-i', tmp_path / 'train', '-o', tmp_path, *args)
    found = [json.loads((tmp_path / f'half-{part}.json').read_text()) for part in ('train', 'val')]
    assert [len(content['images']) for content in found] == lengths


def test_jde2coco_writes_a_file_for_each_list(monkeypatch, tmp_path, capsys):
    root, out = tmp_path / 'JDE', tmp_path / 'out'
    make_jde_image(root, 'PRW/images/a.jpg', ['0 3 0.5 0.5 0.1 0.1', 'bad'])
    make_jde_image(root, 'PRW/images/b.jpg', ['0 -1 0.5 0.5 0.1 0.1'])
    lists = [tmp_path / 'prw.train', tmp_path / 'prw.val']
    for path, image in zip(lists, 'ab'):
        path.write_text(f'PRW/images/{image}.jpg\n')
    args = ['--root', root, '-o', out, '--list', *lists]
    with pytest.raises(SystemExit, match='a.txt, line 2: 1 columns where 6'):
        call(monkeypatch, 'jde2coco.py', *args)
    capsys.readouterr()
    call(monkeypatch, 'jde2coco.py', *args, '--skip-bad')
    assert capsys.readouterr().out == (
        f'{out}/prw_train.json: 1 images (0 without boxes), '
        '1 boxes (0 of unknown identity), 1 ids\n'
        '  left out: 1 x 1 columns where 6 are needed\n'
        f'{out}/prw_val.json: 1 images (0 without boxes), '
        '1 boxes (1 of unknown identity), 0 ids\n'
    )
    with pytest.raises(SystemExit, match='error: These files exist.*--force'):
        call(monkeypatch, 'jde2coco.py', *args)
    with pytest.raises(SystemExit, match='makes several'):
        call(monkeypatch, 'jde2coco.py', *args, '--name', 'x')
    with pytest.raises(SystemExit, match='same file twice'):
        call(monkeypatch, 'jde2coco.py', *args, lists[0])


def test_jde2coco_without_lists(monkeypatch, tmp_path):
    make_jde_image(tmp_path / 'PRW', 'images/a.jpg', ['0 3 0.5 0.5 0.1 0.1'])
    call(monkeypatch, 'jde2coco.py', '--root', tmp_path / 'PRW', '-o', tmp_path)
    call(monkeypatch, 'jde2coco.py', '--root', tmp_path / 'PRW', '-o', tmp_path, '--name', 'x')
    assert (tmp_path / 'PRW.json').read_bytes() == (tmp_path / 'x.json').read_bytes()


def test_crowdhuman2coco_writes_the_splits_that_are_there(monkeypatch, tmp_path, capsys):
    root, out = tmp_path / 'CrowdHuman', tmp_path / 'out'
    with pytest.raises(SystemExit, match='holds neither'):
        call(monkeypatch, 'crowdhuman2coco.py', '-i', root, '-o', out)
    make_crowdhuman(root, 'train', {'a,1': [[1, 2, 3, 4], [5, 6, 7, 8]]})
    call(monkeypatch, 'crowdhuman2coco.py', '-i', root, '-o', out)
    assert [path.name for path in out.iterdir()] == ['train.json']
    assert '1 images (0 without boxes), 2 boxes (0 of unknown' in capsys.readouterr().out
    make_crowdhuman(root, 'val', {'b,2': [[1, 2, 3, 4]]})
    args = ['-i', root, '-o', out, '--images', root / 'Images', '--ids', 'none']
    with pytest.raises(SystemExit, match='These files exist: .*train.json.*--force'):
        call(monkeypatch, 'crowdhuman2coco.py', *args)
    call(monkeypatch, 'crowdhuman2coco.py', *args, '--split', 'val')
    content = json.loads((out / 'val.json').read_text())
    assert [a['instance_id'] for a in content['annotations']] == [-1]


def test_make_synthetic_mot_makes_a_data_set(monkeypatch, tmp_path, capsys):
    args = ['--sequences', 2, '--frames', 3, '--size', '128x96', '--name', 'val', '--seed', 1]
    call(monkeypatch, 'make_synthetic_mot.py', tmp_path, *args)
    content = json.loads((tmp_path / 'annotations' / 'val.json').read_text())
    assert [v['name'] for v in content['videos']] == ['SYN-1-01', 'SYN-1-02']
    assert len(content['images']) == 6
    assert (tmp_path / 'val' / content['images'][5]['file_name']).is_file()
    assert '6/6 frames' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='exists.*--force'):
        call(monkeypatch, 'make_synthetic_mot.py', tmp_path, *args)
    call(monkeypatch, 'make_synthetic_mot.py', tmp_path, *args, '--sequences', 1, '--force')
    content = json.loads((tmp_path / 'annotations' / 'val.json').read_text())
    assert [v['name'] for v in content['videos']] == ['SYN-1-01']  # nothing of the first call
    with pytest.raises(SystemExit, match='no size like'):
        call(monkeypatch, 'make_synthetic_mot.py', tmp_path, '--size', 'large')


@pytest.mark.skipif(not PETS.is_dir(), reason='needs the real sequence beside the repository')
def test_pets09_s2l1(monkeypatch, tmp_path):
    call(monkeypatch, 'video2mot.py', PETS / 'video.avi', tmp_path / 'train' / 'PETS09-S2L1',
         '--gt', PETS / 'gt' / 'gt.txt', '--frames', '1:30', '--fps', 7)  # fmt: skip
    call(monkeypatch, 'mot2coco.py', '-i', tmp_path / 'train', '-o', tmp_path)
    content = json.loads((tmp_path / 'train.json').read_text())
    rows = [line.split(',') for line in (PETS / 'gt' / 'gt.txt').read_text().splitlines()]
    rows = [row for row in rows if int(row[0]) <= 30]
    assert len(content['annotations']) == len(rows)
    assert content['num_instances'] == len({row[1] for row in rows})
    assert content['videos'] == [{'id': 1, 'name': 'PETS09-S2L1', 'scene': 'PETS09-S2L1', 'fps': 7,
                                  'width': 768, 'height': 576}]  # fmt: skip
    expected = sorted((int(r[0]), int(r[1]), float(r[2]), float(r[5])) for r in rows)
    frame_of = {i['id']: i['mot_frame_id'] for i in content['images']}
    assert expected == sorted(
        (frame_of[a['image_id']], a['mot_instance_id'], a['bbox'][0], a['bbox'][3])
        for a in content['annotations']
    )
