"""Tracks as text files in MOTChallenge's format, one per sequence."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from mmkd.errors import MMKDError
from mmkd.registry import METRICS

from .sequences import distinct_names


class _Frame(NamedTuple):
    """The tracks of one frame, and what tells its sequence and its place there."""

    folder: str
    video_id: int
    name: str | None
    frame_id: int
    number: int | None  # in the image's name
    tracks: InstanceData


@METRICS.register_module()
class MOTResults(BaseMetric):
    """Writes tracks as a MOTChallenge server, or TrackEval's command line, reads them.

    One text ``<sequence>.txt`` of lines ``frame,id,x,y,w,h,score,-1,-1,-1``, boxes in pixels of the
    original image. A frame's number is the one that ends its file's name (000601.jpg is 601), or
    its place in the video where names have none, or not one for each frame. A server finds
    the score of a test set without ground truth; list this beside :class:`mmkd.MOTMetric`, or
    alone::

        test_evaluator = dict(type='mmkd.MOTResults', out_dir='work_dirs/mot17_test')

    Args:
        out_dir: Folder of the files; made if need be.
        force: Overwrite files that are there. Without it, tracks whose files exist go to
            ``<out_dir>-1``, ``<out_dir>-2``, ...
        label: Write this class only; None writes all.
        collect_device: As in mmengine.
        prefix: Not used: nothing is scored.

    Raises:
        MMKDError: When testing ends, if the files cannot be written.
    """

    default_prefix: str | None = 'mot'

    def __init__(
        self,
        out_dir: str,
        force: bool = False,
        label: int | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.out_dir = out_dir
        self.force = force
        self.label = label

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps each frame's lines.

        Args:
            data_batch: Not used.
            data_samples: With ``img_path``, ``frame_id`` and ``pred_track_instances``.
        """
        for sample in data_samples:
            if 'pred_track_instances' not in sample or 'frame_id' not in sample:
                raise MMKDError(
                    "MOTResults needs 'frame_id' and 'pred_track_instances' in each data sample: "
                    'is this a video data set (load_as_video=True) and a model with a tracker?'
                )
            tracks = sample['pred_track_instances']
            tracks = InstanceData(
                **{key: tracks[key].cpu() for key in ('bboxes', 'scores', 'labels', 'instances_id')}
            )
            if self.label is not None:
                tracks = tracks[tracks.labels == self.label]
            folder, _, file_name = str(sample['img_path']).replace('\\', '/').rpartition('/')
            digits = re.search(r'(\d+)(?:\.[^.]*)?$', file_name)
            self.results.append(
                _Frame(
                    folder=folder,
                    video_id=int(sample.get('video_id', -1)),
                    name=sample.get('video_name'),
                    frame_id=int(sample['frame_id']),
                    number=int(digits.group(1)) if digits else None,
                    tracks=tracks,
                )
            )

    def evaluate(self, size: int) -> dict:
        """Writes what all processes saw, in the main one.

        Args:
            size: Not used; the number of frames in the data set.

        Returns:
            Nothing: an empty dict.
        """
        parts = all_gather_object(self.results)
        error: List[str | None] = [None]
        if is_main_process():
            try:
                self.compute_metrics([frame for part in parts for frame in part])
            except MMKDError as problem:
                error = [str(problem)]
        broadcast_object_list(error)
        self.results.clear()
        if error[0] is not None:
            raise MMKDError(error[0])
        return {}

    def compute_metrics(self, results: List[_Frame]) -> Dict[str, float]:
        """Writes the files of these frames."""
        videos: Dict[tuple, Dict[int, _Frame]] = {}
        for frame in results:
            key = (frame.folder, frame.video_id, frame.name)
            # Samplers pad the last batch with frames that were there before.
            videos.setdefault(key, {}).setdefault(frame.frame_id, frame)
        files = {
            name.replace('/', '_') + '.txt': _text([frames[i] for i in sorted(frames)])
            for name, frames in zip(distinct_names(list(videos)), videos.values())
        }
        folder = _write(Path(self.out_dir), files, self.force)
        MMLogger.get_current_instance().info('Tracks of %d sequences: %s', len(files), folder)
        return {}


def mot_lines(frame: int, tracks: InstanceData) -> List[str]:
    """Tracks of one frame in MOTChallenge's format: ``frame,id,x,y,w,h,score,-1,-1,-1``.

    Args:
        frame: Number of the frame, from 1 on.
        tracks: ``bboxes`` (k, 4) xyxy, ``scores`` and ``instances_id`` (k,).
    """
    lines = []
    for (x1, y1, x2, y2), score, track_id in zip(
        tracks.bboxes.tolist(), tracks.scores.tolist(), tracks.instances_id.tolist()
    ):
        box = f'{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}'
        lines.append(f'{frame},{track_id},{box},{score:.4f},-1,-1,-1\n')
    return lines


def _text(frames: List[_Frame]) -> str:
    """All lines of a sequence."""
    numbers = [frame.number for frame in frames]
    named = None not in numbers and all(a < b for a, b in zip(numbers, numbers[1:]))
    if not named or numbers[0] < 1:
        numbers = [frame.frame_id + 1 for frame in frames]
    return ''.join(''.join(mot_lines(n, frame.tracks)) for n, frame in zip(numbers, frames))


def _write(folder: Path, files: Dict[str, str], force: bool) -> Path:
    """Writes into the folder, or into a numbered one beside it rather than over a file."""
    aim, number = folder, 0
    while not force and any((aim / name).exists() for name in files):
        number += 1
        aim = folder.with_name(f'{folder.name}-{number}')
    try:
        aim.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            partial = aim / f'{name}.part'
            partial.write_text(text, encoding='utf-8')
            os.replace(partial, aim / name)
    except OSError as error:
        raise MMKDError(f"Cannot write the tracks to '{aim}': {error}.") from error
    return aim
