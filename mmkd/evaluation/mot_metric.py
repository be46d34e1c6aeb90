"""HOTA, CLEAR and identity scores of tracking results, through TrackEval."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmkd.errors import MMKDError
from mmkd.registry import METRICS

from .report import format_table, write_report
from .samples import to_frame
from .sequences import Frame, gather_sequences, trackeval_data
from .sequences import Sequence as Video

COMBINED = 'COMBINED'

# Our column, TrackEval's metric and field, and whether it is a share (told in percent) or a count.
_COLUMNS = (
    ('HOTA', 'HOTA', 'HOTA', True),
    ('DetA', 'HOTA', 'DetA', True),
    ('AssA', 'HOTA', 'AssA', True),
    ('MOTA', 'CLEAR', 'MOTA', True),
    ('IDF1', 'Identity', 'IDF1', True),
    ('IDSW', 'CLEAR', 'IDSW', False),
    ('MT', 'CLEAR', 'MT', False),
    ('ML', 'CLEAR', 'ML', False),
    ('FP', 'CLEAR', 'CLR_FP', False),
    ('FN', 'CLEAR', 'CLR_FN', False),
)

# {sequence or COMBINED: {column: value}}
Table = Dict[str, Dict[str, float]]


@METRICS.register_module()
class MOTMetric(BaseMetric):
    """Scores tracks against ground truth as TrackEval does, from arrays in memory.

    Reports HOTA, DetA, AssA (Luiten et al., IJCV 2020; means over the IoU thresholds 0.05 to
    0.95), MOTA, IDSW, MT, ML, FP, FN (CLEAR) and IDF1. **Shares are in percent, 0..100**, as papers
    print them (mmtrack's own metric reports 0..1); MT, ML, IDSW (IDs in some papers), FP and FN are
    counts of tracks and of boxes.

    The overall scores do not look at classes. If the data set has several classes, each is scored
    for itself, too. Keys are ``mot/HOTA`` and ``mot/<class>/HOTA``, over all sequences; the log has
    a table with a row for every sequence.

    What counts as ground truth: ``instances`` of the data sample, boxes as they are annotated, not
    rounded. Instances with ``mot_conf`` 0, with an ``ignore_flag``, or whose ``instance_id`` is
    unknown (-1) are left out, and predictions on them count as false positives, as in MOT15. Only
    where the data set marks instances as ``distractor`` (``MOTDataset(distractors=...)``) are
    predictions on those forgiven, as in MOT16, 17 and 20.

    TrackEval's command line gives the same files the same scores; without distractors, with
    ``--DO_PREPROC False``. One thing differs: it cuts a fraction in the column of ``mot_conf`` off,
    so that it would leave out a box marked 0.5, which counts here.

    Samples may come in any order and from several processes. In each process whole videos are
    expected, because trackers need them, but that is not this metric's business.

    Args:
        track_iou_thr: From this IoU on a prediction may match in CLEAR and identity scores.
        outfile_prefix: Writes ``<prefix>.json`` and ``<prefix>.csv`` with all tables
            (``tools/test.py --scores <prefix>`` sets it). If one of them exists, ``<prefix>-1``,
            ``<prefix>-2``, ... are used; nothing is overwritten.
        collect_device: As in mmengine.
        prefix: First part of the keys, ``mot`` by default.

    Raises:
        MMKDError: When built, if TrackEval is not installed.
    """

    default_prefix: str | None = 'mot'

    def __init__(
        self,
        track_iou_thr: float = 0.5,
        outfile_prefix: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not 0 < track_iou_thr <= 1:
            raise MMKDError(f'track_iou_thr must be above 0 and at most 1, got {track_iou_thr}.')
        self.outfile_prefix = outfile_prefix
        self._scorers = _trackeval_metrics(track_iou_thr)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps what is needed of each frame.

        Args:
            data_batch: Not used.
            data_samples: With ``img_path``, ``frame_id``, ``video_length``, ``instances`` and
                ``pred_track_instances``; the latter in pixels of the original image.

        Raises:
            MMKDError: If one of these is missing, an id occurs twice in a frame, or a box is not
                finite.
        """
        self.results.extend(map(to_frame, data_samples))

    def evaluate(self, size: int) -> dict:
        """Scores everything that all processes saw; the same result in every process.

        mmengine's own collection interleaves the processes' results and stops at the shortest,
        which is wrong for videos: processes hold different numbers of frames.

        Args:
            size: Not used; the number of frames in the data set.
        """
        parts = all_gather_object(self.results)
        metrics: List[dict | None] = [None]
        if is_main_process():
            scores = self.compute_metrics([frame for part in parts for frame in part])
            metrics = [{f'{self.prefix}/{key}': value for key, value in scores.items()}]
        broadcast_object_list(metrics)
        self.results.clear()
        return metrics[0]

    def compute_metrics(self, results: List[Frame]) -> Dict[str, float]:
        """Scores the frames of all videos, logs the tables and writes the files."""
        if not results:
            raise MMKDError('There are no frames to score: the test data set is empty.')
        videos = gather_sequences(results)
        logger = MMLogger.get_current_instance()
        partial = [video.name for video in videos if not video.is_whole]
        if partial:
            logger.warning(
                'Only a part of the frames was scored of: %s', ', '.join(map(repr, partial))
            )
        if not any(len(frame.truth.ids) for frame in results):
            logger.warning('The test data set has no ground truth: the scores say nothing.')
        tables = {'overall': self._score(videos)}
        for label, name in self._classes(results).items():
            tables[name] = self._score(videos, label)
        for name, table in tables.items():
            logger.info('Tracking scores (%s)\n%s', name, format_table(table))
        if self.outfile_prefix is not None:
            paths = write_report(self.outfile_prefix, tables)
            logger.info('Scores written to %s', ' and '.join(map(str, paths)))
        scores = dict(tables['overall'][COMBINED])
        for name, table in tables.items():
            if name != 'overall':
                scores.update({f'{name}/{key}': value for key, value in table[COMBINED].items()})
        return scores

    def _score(self, videos: List[Video], label: int | None = None) -> Table:
        """One table: every sequence, then all of them combined."""
        raw: Dict[str, Dict[str, dict]] = {name: {} for name in self._scorers}
        for video in videos:
            data = trackeval_data(video, label)
            for name, scorer in self._scorers.items():
                raw[name][video.name] = scorer.eval_sequence(data)
        table = {
            video.name: _row({name: raw[name][video.name] for name in raw}) for video in videos
        }
        table[COMBINED] = _row(
            {name: scorer.combine_sequences(raw[name]) for name, scorer in self._scorers.items()}
        )
        return table

    def _classes(self, results: List[Frame]) -> Dict[int, str]:
        """Names of the classes to score one by one; none if there is only one."""
        meta = self.dataset_meta or {}
        names = meta.get('classes', meta.get('CLASSES')) or ()
        seen = {
            int(label)
            for frame in results
            for boxes in (frame.truth, frame.prediction)
            for label in np.unique(boxes.labels)
        }
        labels = sorted(seen | set(range(len(names))))
        if len(labels) < 2:
            return {}
        return {i: names[i] if i < len(names) else f'class {i}' for i in labels}


def _trackeval_metrics(threshold: float) -> dict:
    try:
        from trackeval import metrics
    except ImportError as error:
        raise MMKDError(
            'MOTMetric needs the package trackeval: pip install trackeval (1.3.0 for numpy 2, '
            '1.0.0 for numpy 1).'
        ) from error
    config = {'THRESHOLD': threshold, 'PRINT_CONFIG': False}
    return {
        'HOTA': metrics.HOTA(),
        'CLEAR': metrics.CLEAR(config),
        'Identity': metrics.Identity(config),
    }


def _row(raw: Dict[str, dict]) -> Dict[str, float]:
    """Our columns from TrackEval's results; HOTA's come per IoU threshold and are averaged."""
    row = {}
    for column, metric, field, is_share in _COLUMNS:
        value = float(np.mean(raw[metric][field]))
        row[column] = 100 * value if is_share else int(round(value))
    return row
