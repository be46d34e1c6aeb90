"""AttributeSOTMetric against mmtrack's SOTMetric, and what only it does."""

from __future__ import annotations

import csv
import json
import logging
import multiprocessing
import os
import socket
import tracemalloc

import numpy as np
import pytest
import torch

from mmkd.errors import MMKDError
from mmkd.evaluation import AttributeSOTMetric
from mmkd.evaluation.attribute_sot_curves import METRICS
from mmkd.evaluation.attribute_sot_results import read_results
from mmkd.registry import METRICS as REGISTRY


def video(name, frames, number=0, seed=None, absent=0.2, spread=6.0, **extra):
    """Data samples of a video as mmengine hands them to metrics."""
    rng = np.random.default_rng(number if seed is None else seed)
    samples = []
    for frame in range(frames):
        corner, size = rng.uniform(20, 200, 2), rng.uniform(5, 60, 2)
        truth = np.concatenate([corner, corner + size])
        predicted = truth + rng.normal(0, spread, 4)
        visible = rng.random() >= absent
        samples.append(
            {
                'img_path': f'data/{name}/img/{frame + 1:08d}.jpg',
                'frame_id': frame,
                'video_id': number,
                'video_length': frames,
                'ori_shape': (240, 320),
                'instances': [
                    # An absent object is annotated with zeros, at times.
                    {'bbox': truth * (visible or rng.random() < 0.5), 'visible': visible}
                ],
                'pred_track_instances': {
                    'bboxes': torch.tensor(predicted[None], dtype=torch.float32),
                    'scores': torch.ones(1),
                },
                **extra,
            }
        )
    return samples


def run(samples, metric=None, **kwargs):
    metric = metric or AttributeSOTMetric(**kwargs)
    for sample in samples:
        metric.process(None, [sample])
    return metric.evaluate(len(samples))


def mmtracks(samples, only_eval_visible=False):
    # Not at the top: the two processes below import this file before mmkd has been there.
    from mmtrack.evaluation import SOTMetric

    return run(samples, SOTMetric(metric_options=dict(only_eval_visible=only_eval_visible)))


POC = dict(attributes=('POC', 'FM'), attribute_groups=('occlusion', 'fast_motion'))
FOC = dict(attributes=('FOC',), attribute_groups=('occlusion',))


@pytest.fixture
def videos():
    return [
        video('a-1', 30, 0, **POC),
        video('a-2', 7, 1, **FOC),
        video('b-1', 51, 2, attributes=(), attribute_groups=()),
        video('b-2', 1, 3),
    ]


@pytest.fixture
def warnings(monkeypatch):
    """What the logger was told, formatted."""
    found = []
    logger = logging.getLogger('mmkd-test')
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.get_current_instance', staticmethod(lambda: logger)
    )
    monkeypatch.setattr(logger, 'warning', lambda text, *args: found.append(text % args))
    return found


# ---------------------------------------------------------------- the numbers


@pytest.mark.parametrize('only_eval_visible', [False, True])
def test_overall_is_mmtracks(videos, only_eval_visible):
    samples = sum(videos, [])
    found = run(samples, only_eval_visible=only_eval_visible)
    expected = mmtracks(samples, only_eval_visible)
    assert set(expected) == {'sot/success', 'sot/norm_precision', 'sot/precision'}
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-9)
    assert found != run(samples, only_eval_visible=not only_eval_visible)


@pytest.mark.parametrize('only_eval_visible', [False, True])
def test_an_attribute_is_scored_as_mmtrack_scores_its_videos(videos, only_eval_visible):
    found = run(sum(videos, []), only_eval_visible=only_eval_visible)
    of = {'POC': [0], 'FM': [0], 'FOC': [1], 'occlusion': [0, 1], 'fast_motion': [0]}
    for attribute, index in of.items():
        samples = sum((videos[i] for i in index), [])
        for key, value in mmtracks(samples, only_eval_visible).items():
            assert found[f'{key}/{attribute}'] == pytest.approx(value, abs=1e-9)
    # Nothing else: videos without attributes make no names.
    assert len(found) == 3 * (1 + len(of))


def test_a_config_of_mmtrack_needs_no_change_but_the_type(videos):
    config = dict(metric='OPE', metric_options=dict(only_eval_visible=True))
    metric = REGISTRY.build(dict(type='mmkd.AttributeSOTMetric', **config))
    samples = sum(videos, [])
    expected = mmtracks(samples, only_eval_visible=True)
    found = run(samples, metric)
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    with pytest.raises(MMKDError, match='mmtrack.SOTMetric'):
        AttributeSOTMetric(metric='VOT')


def test_frames_in_any_order_and_twice(videos):
    samples = sum(videos, [])
    mixed = [samples[i] for i in np.random.default_rng(0).permutation(len(samples))]
    assert run(mixed + samples[:40] + mixed[:5]) == pytest.approx(run(samples))


def test_a_tracker_may_write_the_next_box_into_the_same_memory(videos):
    samples = videos[0]
    expected = run(samples)
    box = torch.zeros(1, 4)
    metric = AttributeSOTMetric()
    for sample in samples:
        box.copy_(sample['pred_track_instances']['bboxes'])
        metric.process(None, [{**sample, 'pred_track_instances': {'bboxes': box}}])
    assert metric.evaluate(0) == expected


def test_half_precision_boxes(videos):
    rounded, halves = [], []
    for sample in videos[0]:
        for target, dtype in ((rounded, torch.float32), (halves, torch.bfloat16)):
            boxes = sample['pred_track_instances']['bboxes'].bfloat16().to(dtype)
            target.append({**sample, 'pred_track_instances': {'bboxes': boxes}})
    assert run(halves) == run(rounded)


def test_a_long_video_needs_memory_by_the_frame():
    frame = video('long', 1)[0]
    metric = AttributeSOTMetric()
    tracemalloc.start()
    for number in range(10_000):
        metric.process(None, [{**frame, 'frame_id': number, 'video_length': 10_000}])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Overlaps of all pairs would be 400 MB.
    assert peak < 20e6
    assert metric.evaluate(10_000)['sot/success'] >= 0


def test_boxes_that_are_no_numbers_are_misses_and_told(videos, warnings):
    samples = videos[0] + videos[1]
    for sample in samples[3:6]:
        sample['pred_track_instances']['bboxes'][0, 2] = float('nan')
    found = run(samples)
    for key, value in mmtracks(samples).items():
        assert found[key] == pytest.approx(value, abs=1e-9)
    assert any("3 of 30 of 'a-1'" in text for text in warnings)


# ---------------------------------------------------------------- what must not be dropped


def test_interrupted_videos_are_named(videos):
    metric = AttributeSOTMetric()
    for sample in videos[0][:12] + videos[2] + videos[1][:2] + videos[1][3:]:
        metric.process(None, [sample])
    with pytest.raises(MMKDError) as error:
        metric.evaluate(0)
    assert "'a-1' (12 of 30 frames; frame 12 is missing)" in str(error.value)
    assert "'a-2' (6 of 7 frames; frame 2 is missing)" in str(error.value)
    assert 'b-1' not in str(error.value)
    # Nothing of it is left for the next epoch.
    expected = mmtracks(videos[2])
    assert run(videos[2], metric) == pytest.approx(expected, abs=1e-9)


def test_no_video_at_all():
    with pytest.raises(MMKDError, match='test data set is empty'):
        AttributeSOTMetric().evaluate(0)


def test_samples_of_another_kind_are_told(videos):
    whole = videos[0][0]

    def process(**changes):
        AttributeSOTMetric().process(None, [{**whole, **changes}])

    with pytest.raises(MMKDError, match="needs 'img_path', 'pred_track_instances'"):
        AttributeSOTMetric().process(
            None,
            [{k: v for k, v in whole.items() if k not in ('img_path', 'pred_track_instances')}],
        )
    with pytest.raises(MMKDError, match=r'shape \(1, 1\).*OPE'):
        process(pred_track_instances={'bboxes': torch.ones(1, 1)})
    with pytest.raises(MMKDError, match='has 8 numbers'):
        process(instances=[{'bbox': np.zeros(8), 'visible': True}])
    with pytest.raises(MMKDError, match='has 0 annotated objects'):
        process(instances=[])
    with pytest.raises(MMKDError, match='Frame 30 of'):
        process(frame_id=30)
    with pytest.raises(MMKDError, match='of 0 frames'):
        process(video_length=0)


def test_videos_of_one_name_stay_two():
    # Two clips of one folder, as in UAV123, and one name in two folders.
    a, b = video('bird1', 20, 0, seed=1), video('bird1', 10, 1, seed=2)
    c, d = video('x/car', 10, 2, seed=3), video('y/car', 10, 3, seed=4)
    samples = a + b + c + d
    assert run(samples) == pytest.approx(mmtracks(samples), abs=1e-9)


# ---------------------------------------------------------------- attributes from a file


@pytest.fixture
def table(tmp_path):
    def write(videos, schema='mmkd-attributes-1', **more):
        path = tmp_path / 'attributes.json'
        path.write_text(json.dumps({'schema': schema, 'names': [], 'videos': videos, **more}))
        return str(path)

    return write


def test_attributes_from_a_file_replace_the_samples(videos, table, warnings):
    path = table({'A_1': ['IV'], 'a.2': ['IV', 'LR'], 'b-1': ['POC'], 'b-2': []})
    found = run(sum(videos, []), attributes=path, groups=dict(light=('IV',), small=['LR', 'XX']))
    assert {key.rpartition('/')[2] for key in found if key.count('/') == 2} == {
        *('IV', 'LR', 'POC', 'light', 'small')
    }
    expected = mmtracks(videos[0] + videos[1])['sot/success']
    assert found['sot/success/IV'] == found['sot/success/light'] == pytest.approx(expected)
    assert not warnings


def test_groups_of_the_file(videos, table):
    path = table({'a-1': ['IV'], 'a-2': ['LR'], 'b-1': [], 'b-2': []}, groups={'light': ['IV']})
    found = run(sum(videos, []), attributes=path)
    assert found['sot/success/light'] == found['sot/success/IV']
    assert 'sot/success/occlusion' not in found
    found = run(sum(videos, []), attributes=path, groups={'small': ['LR']})
    assert found['sot/success/small'] == found['sot/success/LR']
    assert 'sot/success/light' not in found


def test_names_spelled_alike(videos, table):
    # The exact name counts; any other only if there is no doubt.
    found = run(videos[0], attributes=table({'A-1': ['LR'], 'a-1': ['IV']}))
    assert 'sot/success/IV' in found
    assert 'sot/success/LR' not in found
    assert 'sot/success/IV' in run(videos[0], attributes=table({'A-1': ['IV'], 'a_1': ['IV']}))
    with pytest.raises(MMKDError, match="'a-1' may be any of 'A-1', 'a_1'"):
        run(videos[0], attributes=table({'A-1': ['LR'], 'a_1': ['IV']}))


def test_a_file_that_lacks_videos_is_told(videos, table, warnings):
    found = run(sum(videos, []), attributes=table({'a-1': ['IV'], 'b-9': []}))
    assert 'sot/success/IV' in found
    assert any("no attributes of 3 videos: 'a-2', 'b-1', 'b-2'" in text for text in warnings)
    with pytest.raises(MMKDError, match='Is it of another data set'):
        run(sum(videos, []), attributes=table({'z': ['IV']}))


def test_names_made_distinct_still_find_their_attributes(table):
    samples = video('x/car', 10, 2, seed=3) + video('y/car', 10, 3, seed=4)
    assert 'sot/success/IV' in run(samples, attributes=table({'car': ['IV']}))


def test_a_name_from_the_data_set_counts_more_than_the_folder(table):
    samples = video('bird1', 9, 0, video_name='bird1_1') + video(
        'bird1', 9, 1, video_name='bird1_2'
    )
    found = run(samples, attributes=table({'bird1_1': ['IV'], 'bird1_2': ['LR']}))
    assert found['sot/success/IV'] == pytest.approx(mmtracks(samples[:9])['sot/success'])


def test_files_of_another_kind_are_told(table, tmp_path):
    with pytest.raises(MMKDError, match='Cannot read the attributes'):
        AttributeSOTMetric(attributes=str(tmp_path / 'none.json'))
    with pytest.raises(MMKDError, match="schema 'other'"):
        AttributeSOTMetric(attributes=table({'a': []}, schema='other'))
    with pytest.raises(MMKDError, match="no list of attributes: 'POC'"):
        AttributeSOTMetric(attributes=table({'a': 'POC'}))
    with pytest.raises(MMKDError, match="no 'videos'"):
        AttributeSOTMetric(attributes=table({}))
    (tmp_path / 'text.json').write_text('POC')
    with pytest.raises(MMKDError, match='is not JSON'):
        AttributeSOTMetric(attributes=str(tmp_path / 'text.json'))


def test_a_group_called_like_an_attribute_is_no_attribute():
    a = video('a', 9, 0, attributes=('occlusion',), attribute_groups=('occlusion',))
    b = video('b', 9, 1, attributes=('truncated',), attribute_groups=('occlusion',))
    found = run(a + b)
    assert found['sot/success/occlusion'] == pytest.approx(mmtracks(a)['sot/success'])
    assert found['sot/success/occlusion (group)'] == pytest.approx(mmtracks(a + b)['sot/success'])
    # The same videos under one name are told once.
    assert len(run(a)) == 6


# ---------------------------------------------------------------- what is written


def test_files_hold_all_that_was_scored(videos, tmp_path):
    samples = sum(videos, [])
    prefix = tmp_path / 'new' / 'results'
    found = run(samples, outfile_prefix=str(prefix), tracker='mine', only_eval_visible=True)
    content = json.loads(prefix.with_suffix('.json').read_text())
    assert content['schema'] == 'mmkd-sot-results-1'
    assert content['tracker'] == 'mine'
    assert content['settings'] == {'only_eval_visible': True}
    assert content['overall']['success'] == found['sot/success']
    assert content['attributes']['FOC']['precision'] == found['sot/precision/FOC']
    assert content['groups']['occlusion']['videos'] == 2
    one = content['videos']['a-1']
    assert (one['frames'], one['attributes']) == (30, ['POC', 'FM'])
    assert one['evaluated'] == sum(s['instances'][0]['visible'] for s in videos[0])
    # The complete curves, as mmtrack has them.
    for key, length in (('success', 21), ('norm_precision', 51), ('precision', 51)):
        assert len(content['overall']['curves'][key]) == len(content['thresholds'][key]) == length
        assert len(one['hits'][key]) == length
        assert one[key] == pytest.approx(mmtracks(videos[0], True)[f'sot/{key}'], abs=1e-9)

    rows = list(csv.DictReader((tmp_path / 'new/results.csv').open()))
    by_name = {(row['kind'], row['name']): row for row in rows}
    assert list(by_name)[:2] == [('overall', 'overall'), ('attribute', 'FM')]
    assert float(by_name['group', 'occlusion']['success']) == found['sot/success/occlusion']
    assert by_name['video', 'b-1']['frames'] == '51'
    curves = list(csv.DictReader((tmp_path / 'new/results_curves.csv').open()))
    assert len(curves) == (1 + 3 + 2) * (21 + 51 + 51)
    at_20 = [r for r in curves if r['metric'] == 'precision' and r['threshold'] == '20']
    assert float(at_20[0]['percent']) == pytest.approx(found['sot/precision'], abs=1e-6)

    run(samples, outfile_prefix=str(prefix))
    assert (tmp_path / 'new/results-1.json').exists()
    assert json.loads(prefix.with_suffix('.json').read_text()) == content


def test_what_was_written_is_read_back(videos, tmp_path):
    prefix = str(tmp_path / 'results')
    found = run(sum(videos, []), outfile_prefix=prefix, tracker='mine')
    results = read_results(prefix + '.json')
    assert results.tracker == 'mine'
    assert results.only_eval_visible is False
    assert list(results.videos) == ['a-1', 'a-2', 'b-1', 'b-2']
    subsets = {subset.name: subset.index for subset in results.subsets()}
    assert subsets['occlusion'] == [0, 1]
    for name, index in subsets.items():
        suffix = '' if name == 'overall' else f'/{name}'
        for column, metric in enumerate(METRICS):
            mean = results.scores()[index, column].mean()
            assert mean == pytest.approx(found[f'sot/{metric}{suffix}'], abs=1e-9)


def test_damaged_results_are_told(videos, tmp_path):
    path = tmp_path / 'results.json'
    run(videos[0], outfile_prefix=str(tmp_path / 'results'))
    good = json.loads(path.read_text())

    def read(change):
        content = json.loads(json.dumps(good))
        change(content)
        path.write_text(json.dumps(content))
        return read_results(path)

    with pytest.raises(MMKDError, match="schema 'x'"):
        read(lambda c: c.update(schema='x'))
    with pytest.raises(MMKDError, match="has no 'frames'"):
        read(lambda c: c['videos']['a-1'].pop('frames'))
    with pytest.raises(MMKDError, match="3 values of 'success', expected 21"):
        read(lambda c: c['videos']['a-1']['hits'].update(success=[1, 2, 3]))
    with pytest.raises(MMKDError, match='30 frames and other hits'):
        read(lambda c: c['videos']['a-1']['hits'].update(success=[31] * 21))
    with pytest.raises(MMKDError, match='of no video'):
        read(lambda c: c.update(videos={}))
    path.write_text('{')
    with pytest.raises(MMKDError, match='is not JSON'):
        read_results(path)
    with pytest.raises(MMKDError, match='Cannot read the results'):
        read_results(tmp_path / 'none.json')


def test_a_place_that_cannot_be_written_is_told(videos, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(MMKDError, match='Cannot write the results'):
        run(videos[0], outfile_prefix=str(tmp_path / 'file' / 'results'))


# ---------------------------------------------------------------- several processes


def _one_process(rank, port, queue):
    os.environ.update(
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE='2'
    )
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    metric = AttributeSOTMetric()
    # Rank 0 has two long videos, rank 1 a short one and one that rank 0 has, too.
    first, second, third = video('a', 45, 0, **POC), video('b', 60, 1), video('c', 5, 2, **FOC)
    found = run(first + second if rank == 0 else third + first, metric)
    # An interrupted video in one process is an error in both, and neither waits for ever.
    try:
        run(first if rank == 0 else third[:2], metric)
    except MMKDError as error:
        found['error'] = str(error)
    queue.put((rank, found))
    torch.distributed.barrier()
    # torch 2.0's gloo sometimes spins for ever when it is taken down in order.
    os._exit(0)


@pytest.mark.slow
def test_two_processes_with_videos_of_different_length():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context('spawn')
    queue = context.SimpleQueue()  # without a thread that os._exit would cut off
    workers = [context.Process(target=_one_process, args=(r, port, queue)) for r in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=240)
        worker.kill()
        assert worker.exitcode == 0
    results = dict(queue.get() for _ in workers)
    error = results[0].pop('error')
    assert error == results[1].pop('error')
    assert "'c' (2 of 5 frames" in error
    alone = run(video('a', 45, 0, **POC) + video('b', 60, 1) + video('c', 5, 2, **FOC))
    assert results[0] == results[1] == pytest.approx(alone)
