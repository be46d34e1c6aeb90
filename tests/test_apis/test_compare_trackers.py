"""Comparing trackers: the numbers, and what cannot be compared."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from mmkd.apis.compare_trackers import Arm, add_costs, compare, draw, load_arms
from mmkd.apis.compare_trackers_report import as_markdown, write_comparison
from mmkd.errors import MMKDError
from mmkd.evaluation.attribute_sot_curves import METRICS, THRESHOLDS
from mmkd.evaluation.attribute_sot_results import SOTResults, VideoResult, write_results
from tests.toy import REPO

ATTRIBUTES = {
    'a-1': ('POC', 'FM'),
    'a-2': ('POC',),
    'b-1': ('FOC', 'FM', 'OV'),
    'b-2': ('FM',),
    'c-1': (),
}
GROUPS = {'POC': 'occlusion', 'FOC': 'occlusion', 'OV': 'out_of_view'}


def video(name, level, frames=100, attributes=None):
    """A video whose hits fall or rise with the threshold, about ``level`` percent of frames."""
    own = ATTRIBUTES.get(name, ()) if attributes is None else attributes
    hits = {}
    for metric, steps in THRESHOLDS.items():
        slope = np.linspace(1, -1, len(steps)) * (1 if metric == 'success' else -1)
        hits[metric] = np.clip(level + 10 * slope, 0, frames).astype(np.int64)
    groups = tuple(sorted({GROUPS[a] for a in own if a in GROUPS}))
    return VideoResult(name, frames, frames, hits, own, groups)


@pytest.fixture
def results(tmp_path):
    """Writes results and returns the json's path."""

    def write(file_name, level, names=tuple(ATTRIBUTES), only_eval_visible=False, **kwargs):
        levels = np.broadcast_to(level, len(names))
        videos = {n: video(n, x, **kwargs) for n, x in zip(names, levels)}
        tracker = SOTResults(videos, only_eval_visible)
        return str(write_results(str(tmp_path / file_name), tracker)[0])

    return write


@pytest.fixture
def files(results):
    hard = np.array([60, 50, 40, 30, 20])
    return {
        'plain': [results('plain0', hard), results('plain1', hard + 2)],
        'sdst': [results('sdst0', hard + 5), results('sdst1', hard + [9, 7, 5, 7, 7])],
        'teacher': [results('teacher', hard + 20)],
    }


def test_scores_and_differences_are_means_of_videos_and_seeds(files):
    arms = load_arms(files)
    result = compare(arms, [('sdst', 'plain')], resamples=500)
    rows = {row['name']: row for row in result['rows']}
    assert list(rows) == ['overall', 'FM', 'FOC', 'OV', 'POC', 'occlusion', 'out_of_view']
    assert [row['videos'] for row in result['rows']] == [5, 3, 1, 1, 2, 3, 1]
    index = {'overall': [0, 1, 2, 3, 4], 'FM': [0, 2, 3], 'POC': [0, 1], 'occlusion': [0, 1, 2]}
    for name, members in index.items():
        for column, metric in enumerate(METRICS):
            means = {a.name: [r.scores()[members, column].mean() for r in a.results] for a in arms}
            for arm, seeds in means.items():
                found = rows[name]['arms'][arm][metric]
                assert found['seeds'] == pytest.approx(seeds)
                assert found['mean'] == pytest.approx(np.mean(seeds))
                assert found['low'] <= found['mean'] <= found['high']
            found = rows[name]['differences'][0]
            assert (found['arm'], found['minus']) == ('sdst', 'plain')
            expected = np.mean(means['sdst']) - np.mean(means['plain'])
            assert found[metric]['mean'] == pytest.approx(expected)
            assert found[metric]['low'] <= expected <= found[metric]['high']
    assert rows['out_of_view']['same_as'] == rows['FOC']['name'] == 'FOC'
    assert rows['occlusion']['same_as'] == 'occlusion'


def test_paired_intervals_are_narrow_where_videos_differ_much(results):
    hard = np.array([90, 70, 50, 30, 10])
    arms = load_arms({'a': [results('a', hard)], 'b': [results('b', hard + 3)]})
    row = compare(arms)['rows'][0]
    assert row['differences'][0]['arm'] == 'b'
    difference = row['differences'][0]['precision']
    assert difference['low'] == pytest.approx(3)
    assert difference['high'] == pytest.approx(3)
    assert row['arms']['a']['precision']['high'] - row['arms']['a']['precision']['low'] > 20


def test_one_video_has_no_interval(files):
    row = {row['name']: row for row in compare(load_arms(files), resamples=100)['rows']}['FOC']
    assert row['arms']['sdst']['success']['low'] is None
    assert row['differences'][0]['success']['high'] is None
    assert row['differences'][0]['success']['mean'] > 0


def test_default_differences_are_to_the_first_and_numbers_repeat(files):
    arms = load_arms(files)
    result = compare(arms, resamples=200)
    pairs = [(d['arm'], d['minus']) for d in result['rows'][0]['differences']]
    assert pairs == [('sdst', 'plain'), ('teacher', 'plain')]
    assert result == compare(load_arms(files), resamples=200)
    assert result != compare(arms, resamples=200, seed=1)


# ---------------------------------------------------------------- what cannot be compared


def test_missing_videos_are_named(results, monkeypatch):
    told = []
    monkeypatch.setattr('logging.Logger.warning', lambda self, text, *a: told.append(text % a))
    names = list(ATTRIBUTES)
    files = {'a': [results('a', 50)], 'b': [results('b', 50, names[:3])]}
    with pytest.raises(MMKDError, match=r"b\.json lacks 2 of 5: 'b-2', 'c-1'"):
        load_arms(files)
    arms = load_arms(files, common_videos=True)
    assert list(arms[0].results[0].videos) == names[:3]
    assert any("'b-2', 'c-1'. Compared on 3 videos" in text for text in told)
    with pytest.raises(MMKDError, match='no video in common'):
        load_arms({'a': [results('c', 50, ['x'])], 'b': [results('d', 50, ['y'])]}, None, True)


def test_other_rules_or_annotations_are_told(results):
    plain = results('a', 50)
    with pytest.raises(MMKDError, match='only_eval_visible=False'):
        load_arms({'a': [plain], 'b': [results('b', 50, only_eval_visible=True)]})
    with pytest.raises(MMKDError, match="'a-1' has 100 frames, 100 of them scored"):
        load_arms({'a': [plain], 'b': [results('c', 50, frames=101)]})
    other = results('d', 50, attributes=('LR',))
    with pytest.raises(MMKDError, match="'a-1' is POC, FM in .* but LR in .*--attributes"):
        load_arms({'a': [plain], 'b': [other]})


def test_a_seed_counts_once(results):
    path = results('a', 50)
    with pytest.raises(MMKDError, match="given twice, for 'a' and 'b'"):
        load_arms({'a': [path], 'b': [path]})
    with pytest.raises(MMKDError, match='nothing to compare'):
        load_arms({})
    with pytest.raises(MMKDError, match="'a' has no results"):
        load_arms({'a': []})


def test_attributes_of_another_file(results, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr('logging.Logger.warning', lambda self, text, *a: told.append(text % a))
    path = tmp_path / 'attributes.json'
    content = {'schema': 'mmkd-attributes-1', 'source': '', 'names': ['POC', 'LR']}
    path.write_text(json.dumps({**content, 'videos': {'A_1': ['POC'], 'a-2': ['POC', 'LR']}}))
    files = {'a': [results('a', 50)], 'b': [results('d', 50, attributes=('LR',))]}
    arms = load_arms(files, attributes=str(path))
    for arm in arms:
        subsets = {s.name: s.index for s in arm.results[0].subsets()}
        assert subsets == {
            'overall': [0, 1, 2, 3, 4],
            'LR': [1],
            'POC': [0, 1],
            'low_resolution': [1],
            'occlusion': [0, 1],
        }
    assert any("no attributes of 3 videos: 'b-1', 'b-2', 'c-1'" in text for text in told)
    path.write_text(json.dumps({**content, 'videos': {'z': ['POC']}}))
    with pytest.raises(MMKDError, match='none of the 5 videos'):
        load_arms(files, attributes=str(path))


def test_settings_without_sense_are_told(files):
    arms = load_arms(files)
    with pytest.raises(MMKDError, match="no arm 'sdts' to compare. Did you mean 'sdst'"):
        compare(arms, [('sdts', 'plain')])
    with pytest.raises(MMKDError, match='to itself'):
        compare(arms, [('sdst', 'sdst')])
    with pytest.raises(MMKDError, match='10 resamples'):
        compare(arms, resamples=10)
    with pytest.raises(MMKDError, match='of 100 percent'):
        compare(arms, level=100)
    with pytest.raises(MMKDError, match='seed is -1'):
        compare(arms, seed=-1)


# ---------------------------------------------------------------- what is written


def test_markdown(files):
    result = compare(load_arms(files), [('sdst', 'plain')], resamples=500)
    text = as_markdown(result, ['success'])
    lines = text.splitlines()
    assert lines[0].startswith('### Success')
    assert [cell.strip() for cell in lines[2].strip('|').split('|')] == [
        *('', 'videos', 'plain', 'sdst', 'teacher', 'sdst - plain')
    ]
    assert len({line.count('|') for line in lines[2:10]}) == 1
    assert '| overall' in text
    # The group that is FOC again is left out, the one of two attributes is not.
    assert 'out_of_view' not in text
    assert '| occlusion' in text
    assert 'sdst above plain on 4 of 4 attributes' in text
    assert '500 resamples, seed 0' in text
    assert 'plain: 2, sdst: 2, teacher: 1' in text
    assert 'paired' in text
    overall = next(line for line in lines if line.startswith('| overall'))
    assert '±' in overall.split('|')[3]
    assert '±' not in overall.split('|')[5]
    assert overall.split('|')[6].strip().startswith('**+')
    foc = next(line for line in lines if line.startswith('| FOC'))
    assert '[' not in foc


def test_names_do_not_break_the_table(files):
    files['SDST | gate'] = files.pop('sdst')
    text = as_markdown(compare(load_arms(files), resamples=100), ['success'])
    rows = [line for line in text.splitlines() if line.startswith('|')]
    assert r'SDST \| gate' in rows[0]
    assert len({len(re.findall(r'(?<!\\)\|', row)) for row in rows}) == 1


def test_groups_are_summed_up_where_there_are_no_attributes():
    def arm(name, level):
        videos = {n: replace(video(n, level), attributes=()) for n in ATTRIBUTES}
        return Arm(name, [SOTResults(videos)])

    text = as_markdown(compare([arm('a', 50), arm('b', 40)], resamples=100))
    assert 'b above a on 0 of 2 groups; interval above 0 on 0, below 0 on 1.' in text


def test_files(files, tmp_path):
    result = compare(load_arms(files), resamples=200)
    paths = write_comparison(tmp_path / 'new' / 'v1.0', result)
    assert [path.name for path in paths] == ['v1.0.md', 'v1.0.csv', 'v1.0.json']
    assert json.loads(paths[2].read_text()) == result
    assert paths[0].read_text() == as_markdown(result)
    rows = list(csv.DictReader(paths[1].open()))
    assert len(rows) == 3 * 7 * (3 + 2)
    one = next(
        r
        for r in rows
        if (r['metric'], r['name'], r['arm'], r['minus']) == ('success', 'FM', 'sdst', 'plain')
    )
    expected = result['rows'][1]['differences'][0]['success']
    assert [float(one[key]) for key in ('mean', 'low', 'high')] == [
        expected[key] for key in ('mean', 'low', 'high')
    ]
    with pytest.raises(MMKDError, match=r'v1\.0\.md exists already'):
        write_comparison(tmp_path / 'new' / 'v1.0', result)
    assert write_comparison(tmp_path / 'new' / 'v1.0', result, force=True) == paths
    (tmp_path / 'file').write_text('')
    with pytest.raises(MMKDError, match='Cannot write the comparison'):
        write_comparison(tmp_path / 'file' / 'x', result)


def test_pictures(files, tmp_path, monkeypatch):
    arms = load_arms(files)
    paths = draw(arms, tmp_path / 'plots', ['overall', 'POC'])
    assert [path.name for path in paths] == [
        *(f'radar_{metric}.png' for metric in METRICS),
        *('curves_overall.png', 'curves_POC.png'),
    ]
    assert all(cv2.imread(str(path)) is not None for path in paths)
    monkeypatch.setattr('mmkd.visualization.sot_curves.draw_curves', lambda *args: args[2].name)
    monkeypatch.setattr('mmkd.visualization.radar.draw_radar', lambda *args: args[1].name)
    assert len(set(draw(arms, tmp_path / 'all', ['all']))) == 3 + 7
    with pytest.raises(MMKDError, match="no curves of 'POK'. Did you mean 'POC'"):
        draw(arms, tmp_path, ['POK'])


def test_too_few_attributes_for_a_radar_plot(results, tmp_path):
    arms = load_arms({'a': [results('a', 50, attributes=('POC',))]})
    assert [p.name for p in draw(arms, tmp_path / 'plots')] == ['curves_overall.png']


def test_costs_come_from_one_run_of_all_configs(files, monkeypatch):
    calls = []

    def benchmark(settings):
        calls.append(settings)
        rest = {'macs': 4e9, 'fewer_macs': 1.0, 'weights': 'random', 'ms': {'median': 50.0}}
        return {
            'settings': {**asdict(settings)},
            'machine': {'device': 'this one', 'threads': 1, 'torch': '2'},
            'trackers': [
                {
                    'name': 'r50',
                    'params': 50e6,
                    'compression': 1.0,
                    'fps': 20,
                    'speed': 1.0,
                    **rest,
                },
                {
                    'name': 'al',
                    'params': 5e6,
                    'compression': 10.0,
                    'fps': 110,
                    'speed': 5.5,
                    **rest,
                },
            ],
        }

    monkeypatch.setattr('mmkd.apis.benchmark_sot.benchmark', benchmark)
    result = compare(load_arms(files), resamples=100)
    assert '### Cost' not in as_markdown(result)
    add_costs(result, {'teacher': 'r50.py', 'sdst': 'alex.py'}, rounds=2)
    assert [call.configs for call in calls] == [['r50.py', 'alex.py']]
    assert (calls[0].rounds, calls[0].device) == (2, 'cpu')
    line = next(x for x in as_markdown(result).splitlines() if '10.00x' in x)
    assert line.startswith('| sdst |')
    assert '5.50x' in line
    json.dumps(result)
    with pytest.raises(MMKDError, match="no arm 'x' for a config"):
        add_costs(result, {'x': 'x.py'})
    with pytest.raises(MMKDError, match="no setting 'round'. Did you mean 'rounds'"):
        add_costs(result, {'sdst': 'x.py'}, round=3)


@pytest.mark.slow
def test_costs_of_a_real_config(files):
    """The benchmark's own interface; a fake above would not see it change."""
    config = 'configs/sot/siamese_rpn/siamese-rpn_alexnet_8xb16-50e_imagenetvid-imagenetdet-coco'
    path = str(REPO / f'{config}_test-lasot.py')
    result = compare(load_arms(files), resamples=100)
    add_costs(result, {'sdst': path}, rounds=1, frames=1, warmup=0, size=(240, 320), box=(40, 40))
    line = next(x for x in as_markdown(result).splitlines() if x.startswith('| sdst |'))
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    assert float(cells[1]) > 1
    assert float(cells[6]) > 0
