"""Lists of single-object data sets: the command lines, as a user runs them, in this process."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from mmkd.datasets.attributes import load_attributes
from mmkd.datasets.converters.badlines import BadLines
from mmkd.datasets.converters.sot_lists import check_frames
from mmkd.datasets.sot_infos import HEADER, read_infos

from ..sot_folder import boxes_of, make_lasot, write_lines

REPO = Path(__file__).parents[3]
SAMPLES = REPO.parent / 'shared' / 'data' / 'LaSOT_annos'
CAT = {'cat-1': ['POC', 'SV'], 'cat-2': ['FM'], 'cat-10': ['FOC']}


def call(monkeypatch, tool, *args):
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    path = REPO / 'tools' / 'dataset_converters' / tool
    runpy.run_path(str(path), run_name='__main__')


def touch(folder: Path, numbers, template='%08d.jpg') -> None:
    """Empty images: converters look at names only."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / (template % number)).touch()


def lines_of(path: Path) -> list:
    header, *lines = path.read_text().splitlines()
    assert header == HEADER
    return lines


@pytest.fixture
def lasot(tmp_path):
    make_lasot(tmp_path, CAT, frames=4, absent={'cat-2': [0, 3]}, images=False)
    for name in CAT:
        touch(tmp_path / 'LaSOTBenchmark' / 'cat' / name / 'img', range(1, 5))
    toolkit = tmp_path / 'toolkit'
    write_lines(toolkit / 'sequence_evaluation_config' / 'testing_set.txt', ['cat-10'])
    (toolkit / 'annos').mkdir()
    (tmp_path / 'att').rename(toolkit / 'annos' / 'att')
    return tmp_path


def lasot_args(root):
    return ('gen_lasot_infos.py', '-i', root / 'LaSOTBenchmark', '-o', root / 'out')


def test_lasot(monkeypatch, lasot, capsys):
    toolkit = ('--toolkit', lasot / 'toolkit')
    call(monkeypatch, *lasot_args(lasot), *toolkit, '--attribute', 'FOC,FM')
    out = lasot / 'out'
    train = lines_of(out / 'lasot_train_infos.txt')
    assert train == [f'cat/cat-{i}/img,cat/cat-{i}/groundtruth.txt,1,4' for i in (1, 2)]
    test = 'cat/cat-10/img,cat/cat-10/groundtruth.txt,1,4'
    assert lines_of(out / 'lasot_test_infos.txt') == [test]
    assert lines_of(out / 'lasot_train_FOC-FM_infos.txt') == train[1:]
    assert lines_of(out / 'lasot_test_FOC-FM_infos.txt') == [test]
    said = capsys.readouterr().out
    assert f'{out}/lasot_train_infos.txt: 2 videos, 8 frames\n' in said
    assert '  2 x frame without a visible target\n' in said
    assert "  1 x list of 1 test videos, where LaSOT's own has 280\n" in said
    before = (out / 'lasot_train_infos.txt').read_text()
    with pytest.raises(SystemExit, match='error: These files exist: .*lasot_test_infos.txt.*force'):
        call(monkeypatch, *lasot_args(lasot), *toolkit, '--split', 'test')
    call(monkeypatch, *lasot_args(lasot), *toolkit, '--force', '--split', 'train')
    assert (out / 'lasot_train_infos.txt').read_text() == before


def test_lasot_degenerate_boxes_are_counted(monkeypatch, lasot, capsys):
    folder = lasot / 'LaSOTBenchmark' / 'cat' / 'cat-1'
    write_lines(folder / 'groundtruth.txt', ['0,0,0,0', '1,2,3,4', '1,2,0,4', '0,0,0,0'])
    call(monkeypatch, *lasot_args(lasot), '--toolkit', lasot / 'toolkit', '--split', 'train')
    said = capsys.readouterr().out
    assert '  3 x box without area\n' in said
    assert '  1 x video with fewer than two frames to train on\n' in said


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda f: (f / 'groundtruth.txt').write_text('1,2,3'), r'groundtruth.txt., line 1'),
        (lambda f: (f / 'out_of_view.txt').unlink(), r'out_of_view.txt. does not exist'),
        (lambda f: (f / 'out_of_view.txt').write_text('0'), r'is for 1 frames, .* has 4 boxes'),
        (
            lambda f: (f / 'img' / '00000003.jpg').unlink(),
            r'cat-2/img.: a video without all .* 1 to 4, but 1 of these .* number 3. .*--skip-bad',
        ),
    ],
)
def test_lasot_an_incomplete_video_is_named_or_left_out(monkeypatch, lasot, capsys, spoil, message):
    spoil(lasot / 'LaSOTBenchmark' / 'cat' / 'cat-2')
    args = (*lasot_args(lasot), '--toolkit', lasot / 'toolkit', '--split', 'train')
    with pytest.raises(SystemExit, match=message):
        call(monkeypatch, *args)
    assert not (lasot / 'out').exists()
    call(monkeypatch, *args, '--skip-bad')
    assert len(lines_of(lasot / 'out' / 'lasot_train_infos.txt')) == 1
    assert '  1 x left out: a video ' in capsys.readouterr().out


def test_lasot_needs_its_list(monkeypatch, lasot):
    args = lasot_args(lasot)
    with pytest.raises(SystemExit, match='name its folder with --toolkit, or .* --list'):
        call(monkeypatch, *args)
    with pytest.raises(SystemExit, match="has no list of LaSOT's test videos; looked for"):
        call(monkeypatch, *args, '--toolkit', lasot / 'LaSOTBenchmark')
    with pytest.raises(SystemExit, match=r"The list of names '.*x.txt' cannot be read"):
        call(monkeypatch, *args, '--list', lasot / 'x.txt')
    names = write_lines(lasot / 'names.txt', ['cat-1', 'cat-77'])
    with pytest.raises(SystemExit, match=r"names.txt': a video that is missing: 'cat-77' is not"):
        call(monkeypatch, *args, '--list', names)
    with pytest.raises(SystemExit, match='by the table that --attributes names'):
        call(monkeypatch, *args, '--list', names, '--skip-bad', '--attribute', 'FM')
    write_lines(names, ['cat-1', 'cat-1'])
    with pytest.raises(SystemExit, match="has 'cat-1' twice"):
        call(monkeypatch, *args, '--list', names)
    with pytest.raises(SystemExit, match="is not in LaSOT's layout"):
        call(monkeypatch, args[0], '-i', lasot / 'toolkit', '-o', lasot, '--list', names)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason='no samples of LaSOT beside the repository')
def test_lasots_own_list():
    from mmkd.datasets.converters.lasot import find_test_list
    from mmkd.datasets.converters.sot_lists import read_names

    assert len(read_names(find_test_list(str(SAMPLES)))) == 280


def test_an_impossible_subset_writes_nothing(monkeypatch, lasot):
    args = (*lasot_args(lasot), '--toolkit', lasot / 'toolkit', '--split', 'train')
    for choice, message in [
        (('--attribute', 'FMM'), "has no attribute 'FMM'. Did you mean 'FM'"),
        (('--group', 'blur'), "no group 'blur'"),
        (('--attribute', 'LR,OV'), 'None of the 2 videos has any of LR, OV'),
    ]:
        with pytest.raises(SystemExit, match=message):
            call(monkeypatch, *args, *choice)
    assert not (lasot / 'out').exists()


def test_lasot_without_classes(monkeypatch, tmp_path):
    make_lasot(tmp_path, {'cat-1': []}, frames=2, images=False)
    flat = tmp_path / 'flat'
    flat.mkdir()
    (tmp_path / 'LaSOTBenchmark' / 'cat' / 'cat-1').rename(flat / 'cat-1')
    touch(flat / 'cat-1' / 'img', (1, 2))
    names = write_lines(tmp_path / 'list.txt', ['cat-1'])
    call(monkeypatch, 'gen_lasot_infos.py', '-i', flat, '-o', tmp_path, '--list', names,
         '--split', 'test')  # fmt: skip
    infos = read_infos(str(tmp_path / 'lasot_test_infos.txt'))
    assert [info.name for info in infos] == ['cat-1']


def test_names_with_spaces(monkeypatch, tmp_path):
    make_lasot(tmp_path, {'red car-1': [], 'cat-1': []}, frames=2, images=False)
    for name in ('red car-1', 'cat-1'):
        folder = tmp_path / 'LaSOTBenchmark' / name.split('-')[0] / name / 'img'
        touch(folder, (1, 2))
    names = tmp_path / 'list.txt'
    names.write_text('red car-1 \r\n\r\n', encoding='utf-8-sig')
    call(monkeypatch, *lasot_args(tmp_path), '--list', names)
    (info,) = read_infos(str(tmp_path / 'out' / 'lasot_test_infos.txt'))
    assert info.name == 'red car-1'
    assert info.video_path == 'red car/red car-1/img'


@pytest.mark.parametrize('template', ['%04d.jpg', '%08d.JPG'])
def test_images_that_the_data_set_would_not_find(monkeypatch, lasot, template):
    folder = lasot / 'LaSOTBenchmark' / 'cat' / 'cat-2' / 'img'
    for path in folder.iterdir():
        path.rename(folder / (template % int(path.stem)))
    message = "cat-2/img.: a video without all .* no image in it that is called like '00000001.jpg'"
    with pytest.raises(SystemExit, match=message):
        call(monkeypatch, *lasot_args(lasot), '--toolkit', lasot / 'toolkit')


def test_got10k(monkeypatch, tmp_path, capsys):
    root = tmp_path / 'GOT10k'
    for split, title, count, lines in (
        ('train', 'Train', 3, boxes_of(3)),
        ('val', 'Val', 1, boxes_of(3)),
        ('test', 'Test', 1, boxes_of(1)),
    ):
        names = [f'GOT-10k_{title}_{i + 1:06d}' for i in range(count)]
        write_lines(root / split / 'list.txt', names)
        for name in names:
            write_lines(root / split / name / 'groundtruth.txt', lines)
            touch(root / split / name, range(1, 4))
    write_lines(root / 'train' / 'got10k_vot_train_split.txt', ['0', '2'])
    out = tmp_path / 'out'
    call(monkeypatch, 'gen_got10k_infos.py', '-i', root, '-o', out)
    train = lines_of(out / 'got10k_train_infos.txt')
    name = 'train/GOT-10k_Train_000001'
    assert train[0] == f'{name},{name}/groundtruth.txt,1,3'
    assert len(train) == 3
    assert lines_of(out / 'got10k_test_infos.txt')[0].endswith('groundtruth.txt,1,3')
    assert 'got10k_val_infos.txt: 1 videos, 3 frames' in capsys.readouterr().out
    call(monkeypatch, 'gen_got10k_infos.py', '-i', root, '-o', out, '--split', 'train_vot')
    assert lines_of(out / 'got10k_train_vot_infos.txt') == [train[0], train[2]]
    with pytest.raises(SystemExit, match=r"got10k_vot_val_split.txt' cannot be read"):
        call(monkeypatch, 'gen_got10k_infos.py', '-i', root, '-o', out, '--split', 'val_vot')
    write_lines(root / 'train' / 'got10k_vot_val_split.txt', ['x'])
    with pytest.raises(SystemExit, match="is not a list of videos' numbers"):
        call(monkeypatch, 'gen_got10k_infos.py', '-i', root, '-o', out, '--split', 'val_vot')


def test_trackingnet(monkeypatch, tmp_path, capsys):
    root, out = tmp_path / 'TrackingNet', tmp_path / 'out'
    for part, boxes in (('TRAIN_0', 3), ('TRAIN_5', 3), ('TEST', 1)):
        write_lines(root / part / 'anno' / 'v_0.txt', boxes_of(boxes))
        touch(root / part / 'frames' / 'v_0', range(3), '%d.jpg')
    (root / 'TRAIN_5' / 'frames' / 'empty').mkdir()
    args = ('gen_trackingnet_infos.py', '-i', root, '-o', out)
    with pytest.raises(SystemExit, match=r"The frames of TRAIN_1: '.*TRAIN_1/frames' does not"):
        call(monkeypatch, *args)
    call(monkeypatch, *args, '--chunks', 0, 5)
    assert lines_of(out / 'trackingnet_train_infos.txt') == [
        f'{part}/frames/v_0,{part}/anno/v_0.txt,0,2' for part in ('TRAIN_0', 'TRAIN_5')
    ]
    assert lines_of(out / 'trackingnet_test_infos.txt') == ['TEST/frames/v_0,TEST/anno/v_0.txt,0,2']
    assert '1 x left out: an empty folder of frames' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='has the chunks 0 to 11, not 12'):
        call(monkeypatch, *args, '--chunks', 12, '--force')


@pytest.mark.parametrize('prefix', ['', 'data/'])
def test_otb100(monkeypatch, tmp_path, capsys, prefix):
    root, out = tmp_path / 'OTB100', tmp_path / 'out'
    for name, images, files in (
        ('Basketball', range(1, 4), {'': 3}),
        ('BlurCar1', range(247, 250), {'': 3}),
        ('David', range(1, 303), {'': 3}),
        ('Diving', range(1, 6), {'': 4}),
        ('Human4', range(1, 3), {'.1': 0, '.2': 2}),
        ('Jogging', range(1, 3), {'.1': 2, '.2': 2}),
        ('Tiger1', range(1, 9), {'': 8}),
    ):
        touch(root / prefix / name / 'img', images, '%04d.jpg')
        for suffix, count in files.items():
            path = root / prefix / name / f'groundtruth_rect{suffix}.txt'
            path.write_text('\n'.join(boxes_of(count)).replace(',', '\t'))
    call(monkeypatch, 'gen_otb100_infos.py', '-i', root, '-o', out)
    found = [line.split(',') for line in lines_of(out / 'otb100_infos.txt')]
    assert [(Path(video).parent.name, Path(ann).name[16:], int(start), int(end))
            for video, ann, start, end in found] == [
        ('Basketball', '.txt', 1, 3),
        ('BlurCar1', '.txt', 247, 249),
        ('David', '.txt', 300, 302),
        ('Diving', '.txt', 1, 4),
        ('Human4', '.2.txt', 1, 2),
        ('Jogging', '.1.txt', 1, 2),
        ('Jogging', '.2.txt', 1, 2),
        ('Tiger1', '.txt', 6, 8),
    ]  # fmt: skip
    assert {video for video, *_ in found} >= {f'{prefix}Basketball/img'}
    assert 'list of 8 sequences, where OTB100 has 100' in capsys.readouterr().out
    (root / prefix / 'Tiger1' / 'img' / '0008.jpg').unlink()
    with pytest.raises(SystemExit, match='has 3 boxes, of the frames 6 to 8, but 1 of these'):
        call(monkeypatch, 'gen_otb100_infos.py', '-i', root, '-o', out, '--force')
    with pytest.raises(SystemExit, match='has no <video>/groundtruth_rect.txt'):
        call(monkeypatch, 'gen_otb100_infos.py', '-i', out, '-o', out)


def test_uav123(monkeypatch, tmp_path, capsys):
    root, out = tmp_path / 'UAV123', tmp_path / 'out'
    # The lengths of the benchmark's own parts, and where its list says that they begin and end.
    sequences = {
        'bike3': ('bike3', 1, 433),
        'bird1_1': ('bird1', 1, 253),
        'bird1_2': ('bird1', 775, 1477),
        'bird1_3': ('bird1', 1573, 2437),
        'car1_s': ('car1_s', 1, 1475),
        'car16_1': ('car16', 1, 415),
        'car16_2': ('car16', 415, 1993),
        'group2_1': ('group2', 1, 907),
        'group2_2': ('group2', 907, 1771),
        'group2_3': ('group2', 1771, 2683),
    }
    ends = {}
    for name, (folder, start, end) in sequences.items():
        rows = ['NaN,NaN,NaN,NaN', *['1,2,3,4'] * (end - start)]
        write_lines(root / 'anno' / 'UAV123' / f'{name}.txt', rows)
        ends[folder] = end
    for folder, end in ends.items():
        touch(root / 'data_seq' / 'UAV123' / folder, range(1, end + 1), '%06d.jpg')
    call(monkeypatch, 'gen_uav123_infos.py', '-i', root, '-o', out)
    found = {info.name: info for info in read_infos(str(out / 'uav123_infos.txt'))}
    assert {
        name: (Path(info.video_path).name, info.start, info.end) for name, info in found.items()
    } == sequences
    assert found['bird1_2'].ann_path == 'anno/UAV123/bird1_2.txt'
    assert 'list of 10 sequences, where UAV123 has 123' in capsys.readouterr().out
    (root / 'anno' / 'UAV123' / 'group2_2.txt').unlink()
    with pytest.raises(SystemExit, match=r"group2_3.txt': a part whose part 2 is missing"):
        call(monkeypatch, 'gen_uav123_infos.py', '-i', root, '-o', out, '--force')
    with pytest.raises(SystemExit, match=r"folder of annotations '.*anno/UAV20L' does not exist"):
        call(monkeypatch, 'gen_uav123_infos.py', '-i', root, '-o', out, '--benchmark', 'UAV20L')


def test_uav20l_takes_whole_folders(monkeypatch, tmp_path):
    write_lines(tmp_path / 'anno' / 'UAV20L' / 'bird1.txt', ['1,2,3,4'] * 5)
    touch(tmp_path / 'data_seq' / 'UAV123' / 'bird1', range(1, 6), '%06d.jpg')
    call(monkeypatch, 'gen_uav123_infos.py', '-i', tmp_path, '-o', tmp_path, '--benchmark',
         'UAV20L')  # fmt: skip
    line = 'data_seq/UAV123/bird1,anno/UAV20L/bird1.txt,1,5'
    assert lines_of(tmp_path / 'uav20l_infos.txt') == [line]


def test_missing_images_are_told_apart():
    bad = BadLines(skip=True)
    assert check_frames(range(1, 6), 2, 3, 'w', 'a', bad)
    assert not check_frames([], 1, 3, 'w', 'a', bad)
    assert bad.counts == {'a video without all of its frames': 1}


def test_attributes_are_shown_saved_and_cut(monkeypatch, lasot, capsys):
    tool, table = 'sot_attributes.py', ('--attributes', lasot / 'toolkit')
    call(monkeypatch, tool, *table, '--save', lasot / 'a.json')
    said = capsys.readouterr().out
    assert f'{lasot}/toolkit/annos/att: 3 videos' in said
    assert '  attribute  FOC                          1 videos   33.3 %' in said
    assert '  group      occlusion                    2 videos   66.7 %' in said
    saved = load_attributes(str(lasot / 'a.json'))
    assert saved.of('cat-2') == ('FM',)
    assert json.loads((lasot / 'a.json').read_text())['schema'] == 'mmkd-attributes-1'
    cut = ('--group', 'occlusion', '-o', lasot / 'cut.txt')
    infos = ('--infos', lasot / 'annotations' / 'lasot_train_infos.txt')
    call(monkeypatch, tool, *table, *infos, *cut)
    assert [info.name for info in read_infos(str(lasot / 'cut.txt'))] == ['cat-1', 'cat-10']
    assert 'cut.txt: 2 videos, 8 frames' in capsys.readouterr().out
    call(monkeypatch, tool, *table, '--attribute', 'FM')
    assert '1 videos' in capsys.readouterr().out
    for args, message in [
        ((*table, *infos, *cut), 'cut.txt. exists. Overwrite it with --force'),
        ((*table, '-o', lasot / 'new.txt'), '--output is a part of the list that --infos names'),
        ((), '--attributes names'),
    ]:
        with pytest.raises(SystemExit, match=message):
            call(monkeypatch, tool, *args)
