"""What is scored of a data sample."""

from __future__ import annotations

import numpy as np

from mmkd.errors import MMKDError

from .distractors import forgiven
from .sequences import Boxes, Frame


def to_frame(sample: dict) -> Frame:
    """Takes ground truth and predictions out of a sample, without what is forgiven.

    Args:
        sample: With ``img_path``, ``frame_id``, ``video_length``, ``instances`` and
            ``pred_track_instances``.

    Raises:
        MMKDError: If one of these is missing, an id occurs twice, or a box is not finite.
    """
    missing = [
        key
        for key in ('img_path', 'frame_id', 'video_length', 'instances', 'pred_track_instances')
        if key not in sample
    ]
    if missing:
        raise MMKDError(
            f'MOTMetric needs {", ".join(map(repr, missing))} in each data sample. The first four '
            'come from the data set through mmtrack.PackTrackInputs, pred_track_instances from the '
            'model; is this a video data set (load_as_video=True) and a tracker?'
        )
    instances = sample['instances']
    scored = [item for item in instances if _is_scored(item)]
    truth = Boxes.of(
        [item['bbox'] for item in scored],
        [item['instance_id'] for item in scored],
        [item['bbox_label'] for item in scored],
    )
    tracks = sample['pred_track_instances']
    predicted = Boxes.of(
        tracks['bboxes'].detach().cpu(), tracks['instances_id'].cpu(), tracks['labels'].cpu()
    )
    _check(truth, f"the ground truth of '{sample['img_path']}'")
    _check(predicted, f"the predictions for '{sample['img_path']}'")
    is_distractor = np.array([bool(item.get('distractor')) for item in instances], dtype=bool)
    if is_distractor.any():
        boxes = np.array([item['bbox'] for item in instances], dtype=np.float64)
        predicted = predicted.take(~forgiven(boxes, is_distractor, predicted.boxes))
    return Frame(
        name=sample.get('video_name'),
        folder=str(sample['img_path']).replace('\\', '/').rpartition('/')[0],
        video_id=int(sample.get('video_id', -1)),
        frame_id=int(sample['frame_id']),
        video_length=int(sample['video_length']),
        truth=truth,
        prediction=predicted,
    )


def _check(boxes: Boxes, what: str) -> None:
    # Here and not at the end: hours of testing may still be ahead.
    values, counts = np.unique(boxes.ids, return_counts=True)
    if (counts > 1).any():
        raise MMKDError(
            f'Id {values[counts > 1][0]} occurs {counts.max()} times among {what}; an id may '
            'occur once in a frame.'
        )
    if not np.isfinite(boxes.boxes).all():
        index = int(np.flatnonzero(~np.isfinite(boxes.boxes).all(axis=1))[0])
        raise MMKDError(
            f'The box of id {boxes.ids[index]} among {what} is {boxes.boxes[index].tolist()}; '
            'boxes must be finite numbers. Has the training diverged?'
        )


def _is_scored(instance: dict) -> bool:
    return (
        bool(instance.get('mot_conf', 1))
        and not instance.get('ignore_flag', 0)
        and instance['instance_id'] >= 0
    )
