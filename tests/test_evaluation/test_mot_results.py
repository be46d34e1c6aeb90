from __future__ import annotations

import pytest
import torch
from mmengine.evaluator import Evaluator

import mmkd  # noqa: F401
from mmkd.datasets.converters.motchallenge import read_gt
from mmkd.errors import MMKDError
from mmkd.evaluation import MOTResults


def sample(frame, boxes, name='{:06d}.jpg', folder='data/A/img1', first=1, labels=None, **extra):
    return {
        'img_path': f'{folder}/' + name.format(frame + first),
        'frame_id': frame,
        'pred_track_instances': {
            'bboxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            'instances_id': torch.arange(1, len(boxes) + 1),
            'labels': torch.tensor(labels or [0] * len(boxes)),
            'scores': torch.full((len(boxes),), 0.5),
        },
        **extra,
    }


def write(samples, out_dir, **kwargs):
    metric = MOTResults(out_dir=str(out_dir), **kwargs)
    for item in samples:
        metric.process(None, [item])
    assert metric.evaluate(len(samples)) == {}


BOX = [10.25, 20.0, 30.0, 60.5]


def test_the_lines_are_motchallenges_and_our_own_reader_reads_them(tmp_path):
    write([sample(0, [BOX]), sample(1, []), sample(2, [BOX, BOX])], tmp_path / 'out')
    assert (tmp_path / 'out' / 'A.txt').read_text() == (
        '1,1,10.25,20.00,19.75,40.50,0.5000,-1,-1,-1\n'
        '3,1,10.25,20.00,19.75,40.50,0.5000,-1,-1,-1\n'
        '3,2,10.25,20.00,19.75,40.50,0.5000,-1,-1,-1\n'
    )
    rows, _ = read_gt(tmp_path / 'out' / 'A.txt', frames=None)
    assert [(row.frame, row.track, row.bbox) for row in rows][0] == (1, 1, (10.25, 20, 19.75, 40.5))


def test_frames_are_numbered_as_their_images_are(tmp_path):
    write([sample(0, [BOX], first=601), sample(1, [BOX], first=601)], tmp_path)
    assert [line[:4] for line in (tmp_path / 'A.txt').read_text().splitlines()] == ['601,', '602,']


@pytest.mark.parametrize('name', ['frame.jpg', 'cam{:d}_left.jpg', 'cam7.jpg'])
def test_frames_are_counted_where_names_do_not_number_them(tmp_path, name):
    write([sample(i, [BOX], name) for i in range(3)], tmp_path)
    assert [line[:2] for line in (tmp_path / 'A.txt').read_text().splitlines()] == [
        '1,',
        '2,',
        '3,',
    ]


def test_a_file_for_every_sequence_in_any_order_and_without_padding(tmp_path):
    frames = [sample(i, [BOX], folder=f'data/{s}/img1') for i in (2, 0, 1, 1) for s in 'AB']
    write(frames, tmp_path)
    for name in 'AB':
        lines = (tmp_path / f'{name}.txt').read_text().splitlines()
        assert [line[:2] for line in lines] == ['1,', '2,', '3,']


def test_sequences_of_one_name_do_not_share_a_file(tmp_path):
    write([sample(0, [BOX], folder=f'{split}/A/img1') for split in ('x', 'y')], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x_A.txt', 'y_A.txt']


def test_one_class_alone(tmp_path):
    write([sample(0, [BOX, BOX], labels=[0, 1])], tmp_path, label=1)
    assert (tmp_path / 'A.txt').read_text().startswith('1,2,')
    assert len((tmp_path / 'A.txt').read_text().splitlines()) == 1


def test_nothing_is_overwritten_unless_asked(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'A.txt').write_text('mine')
    write([sample(0, [BOX])], tmp_path / 'out')
    assert (tmp_path / 'out' / 'A.txt').read_text() == 'mine'
    assert (tmp_path / 'out-1' / 'A.txt').exists()
    write([sample(0, [BOX])], tmp_path / 'out', force=True)
    assert (tmp_path / 'out' / 'A.txt').read_text() != 'mine'


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(MMKDError, match='Cannot write the tracks'):
        write([sample(0, [BOX])], tmp_path / 'file' / 'out')


def test_a_detector_without_a_tracker_is_told(tmp_path):
    item = sample(0, [BOX])
    del item['pred_track_instances']
    with pytest.raises(MMKDError, match='tracker'):
        MOTResults(out_dir=str(tmp_path)).process(None, [item])


def test_beside_a_metric_in_mmengines_evaluator(tmp_path):
    evaluator = Evaluator(
        [dict(type='mmkd.MOTMetric'), dict(type='mmkd.MOTResults', out_dir=str(tmp_path))]
    )
    truth = {'bbox': BOX, 'bbox_label': 0, 'instance_id': 3, 'ignore_flag': 0}
    evaluator.dataset_meta = {'classes': ('pedestrian',)}
    evaluator.process([sample(0, [BOX], instances=[truth], video_length=1)], None)
    assert evaluator.evaluate(1)['mot/MOTA'] == 100
    assert (tmp_path / 'A.txt').exists()
