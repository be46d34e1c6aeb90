"""The same files, scored by TrackEval's command line and by us."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('trackeval')
pytest.importorskip('mmtrack')
import trackeval
from trackeval.cli.modify_with_cmd_line import modify_with_cmd_line

from mmkd.datasets import MOTDataset
from mmkd.datasets.converters import convert
from mmkd.evaluation import MOTMetric

from ..test_datasets.mot_folder import make_sequence

# Class numbers of MOTChallenge.
PEDESTRIAN, VEHICLE = 1, 6
DISTRACTORS = {2: 'person_on_vehicle', 7: 'static_person', 8: 'distractor', 12: 'reflection'}
OURS = {
    'MOT15': (),
    'MOT17': tuple(DISTRACTORS.values()),
    'MOT20': (*DISTRACTORS.values(), 'non_mot_vehicle'),
}
COLUMNS = {
    'HOTA': 'HOTA___AUC',
    'DetA': 'DetA___AUC',
    'AssA': 'AssA___AUC',
    'MOTA': 'MOTA',
    'IDF1': 'IDF1',
    'IDSW': 'IDSW',
    'MT': 'MT',
    'ML': 'ML',
    'FP': 'CLR_FP',
    'FN': 'CLR_FN',
}
SHARES = ('HOTA', 'DetA', 'AssA', 'MOTA', 'IDF1')


def random_rows(seed, frames, people=6, others=4, clean=True):
    """Rows of gt.txt and of a tracker's file: fractional boxes, misses, switches, false alarms.

    Args:
        seed: Of the random numbers.
        frames: Of the sequence.
        people: Tracks of pedestrians; a tenth of their rows are marked 0.
        others: Tracks of other classes, some of them in front of people.
        clean: Only pedestrians are marked 1, as in the benchmarks.
    """
    rng = np.random.default_rng(seed)
    count = people + others
    kinds = [PEDESTRIAN] * people + rng.choice([3, VEHICLE, 9, 13, *DISTRACTORS], others).tolist()
    start, speed = rng.uniform(0, 150, (count, 2)), rng.normal(0, 2, (count, 2))
    start[people : people + people // 2] = start[: min(others, people // 2)] + 5
    names = np.arange(count) + 1
    truth, tracks = [], []
    for frame in range(1, frames + 1):
        for i in np.flatnonzero(rng.random(count) < 0.9):
            box = np.array([*(start[i] + frame * speed[i]), 31.5, 62.25])
            mark = rng.random() < (0.9 if kinds[i] == PEDESTRIAN else 0 if clean else 0.5)
            truth.append([frame, i + 1, *box, int(mark), kinds[i], rng.random()])
            if rng.random() < 0.04:
                names[i] = names.max() + 1
            if rng.random() < 0.85:
                # Trackers put out float32, and a text file can repeat that exactly.
                box = (box + rng.normal(0, 4, 4)).astype(np.float32)
                tracks.append([frame, names[i], *box.astype(float), 0.9])
        if rng.random() < 0.3:
            tracks.append([frame, 5000 + frame, 900.5, 0, 20, 20, 0.8])
    return truth, tracks


def text(rows):
    return [','.join(map(repr, map(float, row))) for row in rows]


class Benchmark:
    """A folder as TrackEval's command line expects it, and the tracks that are in it."""

    def __init__(self, root, name, sequences):
        self.root, self.name = root, name
        self.lengths = {sequence: frames for sequence, (frames, _, _) in sequences.items()}
        self.tracks = {}
        data = root / 'trackers' / f'{name}-train' / 'ours' / 'data'
        data.mkdir(parents=True)
        (root / 'gt' / 'seqmaps').mkdir(parents=True)
        (root / 'gt' / 'seqmaps' / f'{name}-train.txt').write_text(
            '\n'.join(['name', *sequences]) + '\n'
        )
        for sequence, (frames, truth, tracks) in sequences.items():
            folder = make_sequence(root / 'gt' / f'{name}-train', sequence, text(truth), frames)
            if not truth:
                (folder / 'gt/gt.txt').write_text('')
            lines = [f'{line},-1,-1,-1\n' for line in text(tracks)]
            (data / f'{sequence}.txt').write_text(''.join(lines))
            self.tracks[sequence] = tracks

    def official(self, *options):
        """Rows of the csv that ``scripts/run_mot_challenge.py`` writes; it is not in the wheel.

        Its body is that of ``trackeval-kitti``, which is, with the other data set and a threshold.
        """
        evaluation = trackeval.Evaluator.get_default_eval_config()
        evaluation['DISPLAY_LESS_PROGRESS'] = False
        dataset = trackeval.datasets.MotChallenge2DBox.get_default_dataset_config()
        metrics = {'METRICS': ['HOTA', 'CLEAR', 'Identity'], 'THRESHOLD': 0.5}
        config = {**evaluation, **dataset, **metrics}
        modify_with_cmd_line(
            config,
            [
                *('--BENCHMARK', self.name, '--TRACKERS_TO_EVAL', 'ours', '--PLOT_CURVES', 'False'),
                *('--GT_FOLDER', str(self.root / 'gt')),
                *('--TRACKERS_FOLDER', str(self.root / 'trackers')),
                *options,
            ],
        )
        names = ('HOTA', 'CLEAR', 'Identity')
        trackeval.Evaluator({key: config[key] for key in evaluation}).evaluate(
            [trackeval.datasets.MotChallenge2DBox({key: config[key] for key in dataset})],
            [getattr(trackeval.metrics, name)({k: config[k] for k in metrics}) for name in names],
        )
        folder = self.root / 'trackers' / f'{self.name}-train' / 'ours'
        with open(folder / 'pedestrian_detailed.csv', newline='') as file:
            rows = {row['seq']: row for row in csv.DictReader(file)}
        return {
            name: {
                ours: float(row[theirs]) * (100 if ours in SHARES else 1)
                for ours, theirs in COLUMNS.items()
            }
            for name, row in rows.items()
        }

    def ours(self, distractors=(), classes=None, **kwargs):
        """Converts the ground truth, reads it as a test set and scores the tracks in memory.

        Args:
            distractors: Of MOTDataset.
            classes: Number -> name; with it, a track's row ends with its class number.
            kwargs: Of MOTMetric.

        Returns:
            The overall table; with classes, all tables.
        """
        annotations = self.root / 'annotations.json'
        folder = str(self.root / 'gt' / f'{self.name}-train')
        convert(folder, str(annotations), classes=classes, force=True)
        dataset = MOTDataset(
            ann_file=str(annotations),
            data_prefix={'img_path': folder},
            metainfo={'classes': ('pedestrian',) if classes is None else tuple(classes.values())},
            test_mode=True,
            distractors=distractors,
        )
        numbers = [PEDESTRIAN] if classes is None else list(classes)
        prefix = Path(tempfile.mkdtemp(dir=self.root)) / 'scores'
        metric = MOTMetric(outfile_prefix=str(prefix), **kwargs)
        metric.dataset_meta = dataset.metainfo
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            sequence = info['file_name'].split('/')[0]
            rows = [row for row in self.tracks[sequence] if row[0] == info['frame_id'] + 1]
            tracks = np.array([row[1:6] for row in rows]).reshape(-1, 5)
            kinds = [numbers.index(row[-1]) if classes else 0 for row in rows]
            boxes = np.concatenate([tracks[:, 1:3], tracks[:, 1:3] + tracks[:, 3:5]], axis=1)
            info['pred_track_instances'] = {
                'bboxes': torch.from_numpy(boxes),
                'instances_id': torch.from_numpy(tracks[:, 0]).long(),
                'labels': torch.tensor(kinds, dtype=torch.long),
            }
            metric.process(None, [info])
        scores = metric.evaluate(len(dataset))
        tables = json.loads(prefix.with_suffix('.json').read_text())
        for name, table in tables.items():
            start = 'mot' if name == 'overall' else f'mot/{name}'
            for column, value in table['COMBINED'].items():
                assert scores[f'{start}/{column}'] == value
        return tables if classes else tables['overall']


def assert_same(ours, official):
    assert set(ours) == set(official)
    for name, row in official.items():
        assert ours[name] == pytest.approx(row, abs=1e-6), name


def sequences(clean):
    return {
        'SEQ-01': (25, *random_rows(0, 25, clean=clean)),
        'SEQ-02': (20, *random_rows(1, 20, people=9, others=7, clean=clean)),
        'SEQ-03': (5, random_rows(2, 5, clean=clean)[0], []),
        'SEQ-04': (5, [], random_rows(3, 5, clean=clean)[1]),
    }


@pytest.mark.parametrize('preprocess', [True, False])
@pytest.mark.parametrize('benchmark', ['MOT17', 'MOT20'])
def test_benchmarks_with_distractors(tmp_path, benchmark, preprocess):
    files = Benchmark(tmp_path, benchmark, sequences(clean=not preprocess))
    official = files.official('--DO_PREPROC', str(preprocess))
    plain = files.ours()
    ours = files.ours(OURS[benchmark]) if preprocess else plain
    assert_same(ours, official)
    # The data was neither trivial nor hopeless, and the rule made a difference.
    assert 20 < ours['SEQ-01']['HOTA'] < 95
    assert ours['COMBINED']['IDSW'] > 5
    assert (ours['COMBINED']['FP'] < plain['COMBINED']['FP'] - 20) is preprocess


def test_mot20_forgives_more_than_mot17(tmp_path):
    files = Benchmark(tmp_path, 'MOT20', sequences(clean=True))
    scores = [files.ours(OURS[name])['COMBINED'] for name in ('MOT17', 'MOT20')]
    assert scores[0]['FP'] > scores[1]['FP']


@pytest.mark.parametrize('preprocess', ['True', 'False'])
def test_mot15_has_no_classes_and_forgives_nothing(tmp_path, preprocess):
    def without_class(frames, truth, tracks):
        return frames, [[*row[:7], -1, -1, -1] for row in truth], tracks

    named = {name: without_class(*parts) for name, parts in sequences(clean=True).items()}
    files = Benchmark(tmp_path, 'MOT15', named)
    assert_same(files.ours(), files.official('--DO_PREPROC', preprocess))


@pytest.mark.parametrize('threshold', [0.3, 0.7])
def test_another_threshold(tmp_path, threshold):
    files = Benchmark(tmp_path, 'MOT17', sequences(clean=False))
    ours = files.ours(OURS['MOT17'], track_iou_thr=threshold)
    assert_same(ours, files.official('--THRESHOLD', str(threshold)))
    assert ours['COMBINED']['FN'] != files.ours(OURS['MOT17'])['COMBINED']['FN']


def test_classes_one_by_one(tmp_path):
    """TrackEval knows pedestrians only, so each class is given to it as that, alone."""
    numbers = {3: 'car', 1: 'person'}
    whole, alone = {}, {number: {} for number in numbers}
    for seed, name in enumerate(['SEQ-01', 'SEQ-02']):
        parts = {n: random_rows(10 * seed + n, 15, others=0) for n in numbers}
        truth, tracks = [], []
        for number, (rows, found) in parts.items():
            alone[number][name] = (15, rows, found)
            # Ids may occur once in a frame, whatever the class.
            truth += [[f, i + 100 * number, *rest[:5], number, 1.0] for f, i, *rest in rows]
            tracks += [[f, i + 10000 * number, *rest, number] for f, i, *rest in found]
        whole[name] = (15, truth, tracks)
    ours = Benchmark(tmp_path / 'whole', 'MOT17', whole).ours(classes=numbers)
    assert list(ours) == ['overall', 'car', 'person']
    for number, name in numbers.items():
        official = Benchmark(tmp_path / name, 'MOT17', alone[number]).official()
        assert_same(ours[name], official)
    assert ours['car'] != ours['person']
