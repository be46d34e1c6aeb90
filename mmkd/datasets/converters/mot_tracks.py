"""Reading a MOT set, from MOTChallenge folders or a CocoVID file, as arrays of boxes."""

from __future__ import annotations

from pathlib import Path
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from mmkd.errors import MMKDError, nearest

from ..cocovid import group_images, read_cocovid
from .mot import MOT_CLASSES, find_sequences
from .motchallenge import read_gt, read_sequence

PEDESTRIAN = 'pedestrian'


class MOTVideo(NamedTuple):
    """A sequence of T images with N boxes.

    ``track`` is -1 for boxes that are no target but may hide one: other classes, distractors, and
    what has no identity. ``visibility`` is NaN where the set does not tell.
    """

    name: str
    images: List[Path]
    size: Tuple[int, int]  # (width, height) in pixels
    frame: np.ndarray  # (N,) int, index into images
    track: np.ndarray  # (N,) int
    boxes: np.ndarray  # (N, 4) float64 x, y, w, h in pixels
    visibility: np.ndarray  # (N,) float64, 0..1


def read_mot(
    source: str,
    img_prefix: str | None = None,
    classes: Sequence[str] = (PEDESTRIAN,),
    detector: str = 'FRCNN',
    skip_bad: bool = False,
) -> List[MOTVideo]:
    """Reads all sequences of a set.

    Args:
        source: A folder of sequences in MOTChallenge's layout, or one sequence, or a CocoVID json
            file (mmkd's, mmtrack's).
        img_prefix: Folder that the file names of a CocoVID json go on from.
        classes: Names of the targets' classes.
        detector: Of MOT17's three copies, the one to use.
        skip_bad: Leave out bad rows and images of MOTChallenge folders.

    Raises:
        MMKDError: If something is missing or wrong.
    """
    if source.endswith('.json'):
        if img_prefix is None:
            raise MMKDError(f"'{source}' needs --img-prefix: the folder of its images.")
        return _read_cocovid(source, Path(img_prefix), classes)
    numbers = {_class_number(name) for name in classes}
    videos = []
    for folder in find_sequences(Path(source), detector):
        sequence = read_sequence(folder)
        path = folder / 'gt' / 'gt.txt'
        if not path.is_file():
            raise MMKDError(f"'{path}' does not exist: without tracks there are no SOT videos.")
        rows, _ = read_gt(path, sequence.frames, skip_bad)
        index = {number: i for i, number in enumerate(sequence.frames)}
        images = [folder / sequence.img_dir / name for name in sequence.frames.values()]
        found = [
            (
                index[row.frame],
                row.track if row.conf != 0 and row.class_id in numbers else -1,
                row.bbox,
                row.visibility,
            )
            for row in rows
        ]
        videos.append(_video(sequence.name, images, (sequence.width, sequence.height), found))
    return videos


def _read_cocovid(path: str, prefix: Path, classes: Sequence[str]) -> List[MOTVideo]:
    content = read_cocovid(path)
    names = {category['id']: category['name'] for category in content['categories']}
    for name in classes:
        if name not in names.values():
            raise MMKDError(f"'{path}' has no class '{name}'. {nearest(name, names.values())}")
    by_image = {}
    for ann in content.get('annotations', ()):
        by_image.setdefault(ann['image_id'], []).append(ann)
    videos = []
    title = {video['id']: video['name'] for video in content['videos']}
    for images in group_images(content, path):
        found = []
        for index, image in enumerate(images):
            for ann in by_image.get(image['id'], ()):
                wanted = names[ann['category_id']] in classes and ann.get('mot_conf', 1) != 0
                wanted = wanted and not ann.get('iscrowd') and not ann.get('ignore')
                # Numbers of the set itself where they are there: ids of a whole file say less.
                track = ann.get('mot_instance_id', ann.get('instance_id', -1))
                found.append((index, track if wanted else -1, ann['bbox'],
                              ann.get('visibility', np.nan)))  # fmt: skip
        files = [prefix / image['file_name'] for image in images]
        # Names with folders ('train/MOT17-02') would make folders of videos.
        name = title[images[0]['video_id']].replace('/', '-')
        videos.append(_video(name, files, (images[0]['width'], images[0]['height']), found))
    return videos


def _video(name: str, images: List[Path], size, found: list) -> MOTVideo:
    missing = [path for path in images if not path.is_file()]
    if missing:
        raise MMKDError(f"{len(missing)} of {len(images)} images are missing: '{missing[0]}', ...")
    columns = zip(*found) if found else ((),) * 4
    frame, track, boxes, visibility = (list(column) for column in columns)
    video = MOTVideo(
        name,
        images,
        (int(size[0]), int(size[1])),
        np.array(frame, int),
        np.array(track, int),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(visibility, np.float64),
    )
    pairs = video.frame[video.track >= 0], video.track[video.track >= 0]
    if len(set(zip(*(column.tolist() for column in pairs)))) < len(pairs[0]):
        raise MMKDError(f"'{name}' has a frame with two boxes of the same track.")
    return video


def _class_number(name: str) -> int:
    for number, known in MOT_CLASSES.items():
        if name in (known, str(number)):
            return number
    raise MMKDError(f"MOTChallenge has no class '{name}'. {nearest(name, MOT_CLASSES.values())}")
