from __future__ import annotations

import csv
import multiprocessing
import os

import numpy as np
import pytest
import torch

from mmkd.errors import MMKDError
from mmkd.evaluation import MOTMetric
from mmkd.evaluation.sequences import gather_sequences, sequence_name

pytest.importorskip('trackeval')


def instance(box, track, label=0, **extra):
    return {'bbox': box, 'bbox_label': label, 'instance_id': track, 'ignore_flag': 0, **extra}


def sample(frame, truth, predicted, length, folder='data/train/A/img1', video_id=1, **extra):
    """A data sample as mmengine hands it to metrics. predicted: (box, id) or (box, id, label)."""
    boxes = [p[0] for p in predicted]
    return {
        'img_path': f'{folder}/{frame + 1:06d}.jpg',
        'frame_id': frame,
        'video_length': length,
        'video_id': video_id,
        'instances': truth,
        'pred_track_instances': {
            'bboxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            'instances_id': torch.tensor([p[1] for p in predicted], dtype=torch.long),
            'labels': torch.tensor([p[2] if len(p) > 2 else 0 for p in predicted]).long(),
            'scores': torch.ones(len(predicted)),
        },
        **extra,
    }


def score(samples, classes=('pedestrian',), **kwargs):
    metric = MOTMetric(**kwargs)
    metric.dataset_meta = {'classes': classes}
    for item in samples:
        metric.process(None, [item])
    return metric.evaluate(len(samples))


def box(x, y=0.0, w=10.0, h=20.0):
    return [x, y, x + w, y + h]


FAR = box(500)


def random_video(seed, frames, people=6, folder='data/A/img1', video_id=1):
    """Ground truth with real-valued boxes, and tracks that miss, invent and switch."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(0, 200, (people, 2)), rng.normal(0, 2, (people, 2))
    track_of = np.arange(people) + 1
    samples = []
    for frame in range(frames):
        truth, predicted = [], []
        for i in np.flatnonzero(rng.random(people) < 0.9):
            gt = box(*(start[i] + frame * speed[i]), 30, 60)
            truth.append(instance(gt, int(i)))
            if rng.random() < 0.05:
                track_of[i] = track_of.max() + 1
            if rng.random() < 0.85:
                # Float32 is what trackers put out and what a text file can repeat exactly.
                noisy = (np.array(gt) + rng.normal(0, 4, 4)).astype(np.float32).tolist()
                predicted.append((noisy, int(track_of[i])))
        if rng.random() < 0.3:
            predicted.append((FAR, 1000 + frame))
        samples.append(sample(frame, truth, predicted, frames, folder, video_id))
    return samples


# ---------------------------------------------------------------- known numbers


def test_perfect_tracks():
    truth = [instance(box(0), 0), instance(box(50), 1)]
    scores = score([sample(i, truth, [(box(0), 7), (box(50), 3)], 10) for i in range(10)])
    expected = {'HOTA': 100, 'DetA': 100, 'AssA': 100, 'MOTA': 100, 'IDF1': 100}
    expected.update(IDSW=0, MT=2, ML=0, FP=0, FN=0)
    assert scores == {f'mot/{key}': pytest.approx(value) for key, value in expected.items()}


def test_switch_miss_and_false_alarm_by_hand():
    """10 frames, one person: id 1 in frames 0-3, id 2 in 4-8, missed in 9, two false alarms."""
    samples = []
    for frame in range(10):
        predicted = [(box(0), 1 if frame < 4 else 2)] if frame < 9 else []
        if frame in (2, 3):
            predicted.append((FAR, 9))
        samples.append(sample(frame, [instance(box(0), 5)], predicted, 10))
    scores = score(samples)
    assert scores['mot/IDSW'] == 1
    assert (scores['mot/FP'], scores['mot/FN']) == (2, 1)
    assert scores['mot/MOTA'] == pytest.approx(100 * (1 - (2 + 1 + 1) / 10))
    # Id 2 is the person: IDTP 5, IDFN 5, IDFP 4 + 2.
    assert scores['mot/IDF1'] == pytest.approx(100 * 5 / (5 + 0.5 * 5 + 0.5 * 6))
    assert (scores['mot/MT'], scores['mot/ML']) == (1, 0)
    # TP 9, FN 1, FP 2. A(id 1) = 4 / (10 + 4 - 4), A(id 2) = 5 / (10 + 5 - 5).
    assert scores['mot/DetA'] == pytest.approx(100 * 9 / 12)
    assert scores['mot/AssA'] == pytest.approx(100 * (4 * 0.4 + 5 * 0.5) / 9)


def test_iou_threshold_is_respected_and_boxes_are_not_rounded():
    # IoU of boxes of width 10 that are 2.4 apart: 7.6 / 12.4 = 0.613.
    samples = [sample(0, [instance(box(0.9), 0)], [(box(3.3), 1)], 1)]
    assert score(samples)['mot/MOTA'] == 100
    assert score(samples, track_iou_thr=0.61)['mot/MOTA'] == 100
    strict = score(samples, track_iou_thr=0.62)
    assert (strict['mot/MOTA'], strict['mot/IDF1']) == (-100, 0)


def test_instances_that_are_not_ground_truth():
    truth = [
        instance(box(0), 0, mot_conf=1, visibility=0.0),
        instance(box(50), 1, mot_conf=0),
        instance(box(100), 2, ignore_flag=1),
        instance(box(150), -1),
    ]
    truth[2]['ignore_flag'] = 1
    scores = score([sample(0, truth, [(box(0), 1)], 1)])
    assert (scores['mot/FN'], scores['mot/MOTA']) == (0, 100)
    scores = score([sample(0, truth, [(box(0), 1), (box(50), 2)], 1)])
    assert scores['mot/FP'] == 1


def test_predictions_on_distractors_are_forgiven():
    def of_distractor(x, **extra):
        return instance(box(x), 7, -1, ignore_flag=1, distractor=True, **extra)

    def false_alarms(truth, predicted):
        return score([sample(0, [instance(box(0), 0), *truth], predicted, 1)])['mot/FP']

    on_person, near, off = (box(0), 1), (box(53), 2), (box(54), 2)
    assert false_alarms([of_distractor(50)], [on_person, near]) == 0  # IoU 7 / 13
    assert false_alarms([of_distractor(50)], [on_person, off]) == 1  # IoU 6 / 14
    # A distractor excuses one prediction, the better one.
    assert false_alarms([of_distractor(50)], [on_person, near, (box(51), 3)]) == 1
    # What is ignored without being a distractor takes its prediction away from it.
    other = dict(of_distractor(52), distractor=False)
    assert false_alarms([other, of_distractor(50)], [on_person, (box(52), 3)]) == 1
    # A person in front of a distractor is still found.
    scores = score([sample(0, [instance(box(0), 0), of_distractor(3)], [on_person], 1)])
    assert (scores['mot/FN'], scores['mot/FP'], scores['mot/MOTA']) == (0, 0, 100)


@pytest.mark.parametrize(
    ('truth', 'predicted', 'expected'),
    [
        ([], [], {'HOTA': 0, 'MOTA': 0, 'IDF1': 0, 'FP': 0, 'FN': 0}),
        ([instance(box(0), 0)], [], {'HOTA': 0, 'MOTA': 0, 'IDF1': 0, 'FP': 0, 'FN': 3, 'ML': 1}),
        ([], [(box(0), 1)], {'HOTA': 0, 'IDF1': 0, 'FP': 3, 'FN': 0}),
    ],
)
def test_nothing_there_gives_numbers(truth, predicted, expected):
    scores = score([sample(i, truth, predicted, 3) for i in range(3)])
    assert all(np.isfinite(value) for value in scores.values())
    assert {key: scores[f'mot/{key}'] for key in expected} == expected


# ---------------------------------------------------------------- classes, order, processes


def test_classes_are_pooled_and_scored_one_by_one():
    truth = [instance(box(0), 0, label=0), instance(box(50), 1, label=1)]
    predicted = [(box(0), 1, 0), (box(50), 2, 0)]  # the second has the wrong class
    scores = score(
        [sample(i, truth, predicted, 4) for i in range(4)], classes=('person', 'car', 'dog')
    )
    assert scores['mot/MOTA'] == 100
    assert (scores['mot/person/FP'], scores['mot/person/FN']) == (4, 0)
    assert (scores['mot/car/FP'], scores['mot/car/FN']) == (0, 4)
    assert scores['mot/dog/FN'] == 0


def test_one_class_has_no_extra_keys():
    scores = score([sample(0, [], [], 1)])
    assert all(key.count('/') == 1 for key in scores)


def test_order_and_repeats_do_not_matter():
    samples = random_video(3, 30)
    shuffled = [samples[i] for i in np.random.default_rng(0).permutation(30)]
    assert score(shuffled + samples[:5]) == score(samples)


def test_repeated_epochs_start_from_nothing(tmp_path):
    metric = MOTMetric(outfile_prefix=str(tmp_path / 'sub/scores'))
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub/scores.csv').write_text('mine')
    results = []
    for _ in range(2):
        for item in random_video(4, 20):
            metric.process(None, [item])
        results.append(metric.evaluate(20))
    assert results[0] == results[1]
    assert (tmp_path / 'sub/scores.csv').read_text() == 'mine'
    files = sorted(path.name for path in (tmp_path / 'sub').iterdir())
    assert files == ['scores-1.csv', 'scores-1.json', 'scores-2.csv', 'scores-2.json', 'scores.csv']
    with open(tmp_path / 'sub/scores-2.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['sequence'] for row in rows] == ['A', 'COMBINED']
    assert float(rows[1]['HOTA']) == pytest.approx(results[0]['mot/HOTA'])


def _one_process(rank, port, queue):
    os.environ.update(
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE='2'
    )
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    metric = MOTMetric()
    # Rank 0 has a video three times as long as rank 1's.
    video = random_video(5, 45, folder='d/A') if rank == 0 else random_video(6, 15, folder='d/B')
    for item in video:
        metric.process(None, [item])
    queue.put((rank, metric.evaluate(60)))
    # A process that ends takes its connections along, while the other may still be reading.
    torch.distributed.barrier()
    # torch 2.0's gloo sometimes spins for ever when it is taken down in order.
    os._exit(0)


def test_two_processes_with_videos_of_different_length():
    import socket

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context('spawn')
    queue = context.SimpleQueue()  # without a thread that os._exit would cut off
    workers = [context.Process(target=_one_process, args=(r, port, queue)) for r in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        worker.kill()
        assert worker.exitcode == 0
    results = dict(queue.get() for _ in workers)
    alone = score(random_video(5, 45, folder='d/A') + random_video(6, 15, folder='d/B'))
    assert results[0] == results[1] == alone


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ('folder', 'name'),
    [
        ('data/MOT17/train/MOT17-02-SDP/img1', 'MOT17-02-SDP'),
        ('C:\\data\\MOT17-02\\img1', 'MOT17-02'),
        ('data/my_video', 'my_video'),
        ('data/my_video/rgb/images', 'my_video'),
        ('img1', 'img1'),
        ('', 'sequence'),
    ],
)
def test_name_from_the_path(folder, name):
    assert sequence_name(folder) == name


def test_names_stay_distinct():
    metric = MOTMetric()
    places = [('a/x/img1', 1), ('b/x/img1', 2), ('flat', 3), ('flat', 4), ('c/y/img1', 5)]
    for folder, video in places:
        metric.process(None, [sample(0, [], [], 1, folder, video)])
    metric.process(None, [sample(0, [], [], 1, 'flat', 6, video_name='named')])
    names = [sequence.name for sequence in gather_sequences(metric.results)]
    assert names == ['a/x', 'b/x', 'flat#3', 'flat#4', 'named', 'y']


# ---------------------------------------------------------------- mistakes


def test_an_id_twice_in_a_frame():
    with pytest.raises(
        MMKDError, match="Id 4 occurs 2 times among the predictions for '.*/A/img1/000001.jpg'"
    ):
        score([sample(0, [], [(box(0), 4), (box(9), 4)], 1)])
    truth = [instance(box(0), 4), instance(box(9), 4)]
    with pytest.raises(MMKDError, match='ground truth'):
        score([sample(0, truth, [], 1)])


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_box_that_is_no_box(value):
    with pytest.raises(MMKDError, match='id 4 among the predictions.*finite'):
        score([sample(0, [], [(box(9), 2), (box(value), 4)], 1)])


def test_mistakes_are_told_at_the_frame_and_not_at_the_end():
    metric = MOTMetric()
    with pytest.raises(MMKDError, match='finite'):
        metric.process(None, [sample(0, [], [(box(float('nan')), 4)], 9)])


def test_missing_fields_and_no_frames():
    broken = sample(0, [], [], 1)
    del broken['instances'], broken['frame_id']
    with pytest.raises(MMKDError, match="'frame_id', 'instances'"):
        score([broken])
    with pytest.raises(MMKDError, match='no frames'):
        score([])
    with pytest.raises(MMKDError, match='track_iou_thr'):
        MOTMetric(track_iou_thr=50)


@pytest.fixture
def log(caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_a_part_of_a_video_is_announced(log):
    score([sample(0, [], [], 9)])
    assert "part of the frames was scored of: 'A'" in log.text


def test_a_test_set_without_ground_truth_is_announced(log):
    score([sample(0, [], [(box(0), 1)], 1), sample(0, [], [], 1, folder='x/B/img1')])
    assert 'no ground truth' in log.text
    log.clear()
    score([sample(0, [], [], 1), sample(0, [instance(box(0), 1)], [], 1, folder='x/B/img1')])
    assert 'no ground truth' not in log.text
