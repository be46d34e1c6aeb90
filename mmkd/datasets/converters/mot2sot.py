"""From MOT tracks to single-object videos in LaSOT's layout, with attributes from boxes.

    <out>/annotations/{train_infos.txt, test_infos.txt, attributes.json}
    <out>/videos/<sequence>/<sequence>-t<track>-<split><n>/{img/, groundtruth.txt, ...}

Every track is a video, from a frame in which it is clearly visible to its last box; a track that
is gone for long becomes several videos.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from mmkd.errors import MMKDError, nearest

from ..attributes import AttributeTable
from ..attributes.computed import LASOT, BoxRules, occlusion_by_overlap, video_attributes
from ..sot_infos import VideoInfo, write_infos
from .mot_tracks import MOTVideo
from .sot_layout import FRAME_NAME, make_room, write_sot_annotations

MARK = 'mot2sot.json'
SPLITS = ('frames', 'tracks', 'sequences', 'train', 'test')
OCCLUSIONS = ('auto', 'visibility', 'overlap')


@dataclass(frozen=True)
class Cut:
    """Which parts of which tracks become videos.

    Args:
        split: 'frames': the first frames of each sequence train, the last ones test, so that no
            image is in both; a person may be in both. 'tracks': likewise, and each track only on
            the side where it has more frames, so that no person is in both either. 'sequences':
            whole sequences, those of ``test_sequences`` test. 'train', 'test': all are one split.
        test_share: Share of a sequence's frames that test, for 'frames' and 'tracks'.
        gap: Frames left out between the two: neighbours look nearly the same.
        test_sequences: Names.
        min_frames: Frames with a visible target that a video needs.
        max_gap: A track that has no box in more frames than this in a row is cut in two.
        min_size: Square root of the area that the first box needs, in pixels.
        start_visible: Share of the first box that must be visible and inside of the image.
        clip: Cut boxes at the image's border, as LaSOT's are; attributes are computed before.
        border: A target that vanishes closer to the border than this, in pixels, has left the
            view; elsewhere it is fully occluded.
        occlusion: 'visibility': the set's own column; 'overlap': computed from other boxes;
            'auto': the column, unless it is the same number throughout a sequence.
    """

    split: str = 'frames'
    test_share: float = 1 / 3
    gap: int = 0
    test_sequences: Tuple[str, ...] = ()
    min_frames: int = 20
    max_gap: int = 30
    min_size: float = 10.0
    start_visible: float = 0.8
    clip: bool = True
    border: float = 5.0
    occlusion: str = 'auto'

    def __post_init__(self) -> None:
        for key, choices in (('split', SPLITS), ('occlusion', OCCLUSIONS)):
            value = getattr(self, key)
            if value not in choices:
                raise MMKDError(f"There is no {key} '{value}'. {nearest(value, choices)}")
        if not 0 < self.test_share < 1:
            raise MMKDError(f'The share that tests is between 0 and 1, not {self.test_share}.')
        if not 0 < self.start_visible <= 1:
            raise MMKDError(f'start_visible is within 0 and 1, not {self.start_visible}.')
        if self.min_frames < 2 or min(self.gap, self.max_gap, self.min_size, self.border) < 0:
            raise MMKDError('min_frames must be 2 or more, gap and sizes not negative.')
        if (self.split == 'sequences') != bool(self.test_sequences):
            raise MMKDError("split 'sequences' and the names of the test sequences go together.")


class SOTVideo(NamedTuple):
    """One video; arrays over its T frames."""

    name: str
    split: str
    sequence: str
    images: List[Path]
    boxes: np.ndarray  # (T, 4) x, y, w, h in pixels; zeros without a box
    occluded: np.ndarray  # (T,) bool
    outside: np.ndarray  # (T,) bool
    attributes: Tuple[str, ...]


def cut_videos(
    videos: Sequence[MOTVideo], cut: Cut, rules: BoxRules = LASOT, attribute_frames: int = 1
) -> List[SOTVideo]:
    """Makes the videos, without writing anything.

    Args:
        videos: Of the MOT set.
        cut: What to take.
        rules: Definitions of the attributes.
        attribute_frames: A video has an attribute if this many of its frames have it.

    Raises:
        MMKDError: If a named sequence does not exist, or a split that should have videos has none.
    """
    names = [video.name for video in videos]
    for name in cut.test_sequences:
        if name not in names:
            raise MMKDError(f"There is no sequence '{name}'. {nearest(name, names)}")
    found: List[SOTVideo] = []
    for video in videos:
        covered = _covered(video, cut)
        parts = _parts(video, cut)
        for track in np.unique(video.track[video.track >= 0]):
            rows = np.flatnonzero(video.track == track)
            for split, first, end in _sides(video.frame[rows], parts, cut):
                inside = rows[(video.frame[rows] >= first) & (video.frame[rows] < end)]
                found += _track_videos(video, int(track), split, inside, covered, cut, rules,
                                       attribute_frames)  # fmt: skip
    wanted = {'train': ('train',), 'test': ('test',)}.get(cut.split, ('train', 'test'))
    for split in wanted:
        if not any(video.split == split for video in found):
            raise MMKDError(
                f'No track is left to {split} with: {cut.min_frames} visible frames, a first box '
                f'of {cut.min_size:g} pixels that is visible to {cut.start_visible:.0%}.'
            )
    return found


def write_videos(
    out_dir: str,
    videos: Sequence[SOTVideo],
    rules: BoxRules = LASOT,
    link: str = 'symlink',
    force: bool = False,
    options: dict | None = None,
) -> None:
    """Writes videos, lists and attributes.

    Args:
        out_dir: Folder of the set.
        videos: What to write.
        rules: That the attributes were computed by.
        link: 'symlink' (relative, so that both folders can be moved together) or 'copy'. An image
            is named .jpg whatever it holds: readers look at the content.
        force: Replace a set that this function wrote before.
        options: Noted in ``mot2sot.json``.

    Raises:
        MMKDError: If there is something in the way.
    """
    if link not in ('symlink', 'copy'):
        raise MMKDError(f"There is no link '{link}': symlink, copy.")
    out = Path(out_dir)
    make_room(out, MARK, ('annotations', 'videos'), force)
    note = json.dumps({'schema': 'mmkd-mot2sot-1', **(options or {})}, indent=1)
    (out / MARK).write_text(note + '\n', encoding='utf-8')
    infos: Dict[str, List[VideoInfo]] = {}
    for video in videos:
        folder = out / 'videos' / video.sequence / video.name
        (folder / 'img').mkdir(parents=True)
        for number, image in enumerate(video.images, start=1):
            target = folder / 'img' / FRAME_NAME.format(number)
            if link == 'copy':
                shutil.copyfile(image, target)
            else:
                # The real folders: '..' after a link leads elsewhere.
                target.symlink_to(os.path.relpath(image.resolve(), target.parent.resolve()))
        write_sot_annotations(folder, video.boxes, video.occluded, video.outside)
        stem = f'{video.sequence}/{video.name}'
        infos.setdefault(video.split, []).append(
            VideoInfo(f'{stem}/img', f'{stem}/groundtruth.txt', 1, len(video.images))
        )
    for split, lines in infos.items():
        write_infos(str(out / 'annotations' / f'{split}_infos.txt'), lines)
    table = AttributeTable(
        rules.attribute_names,
        {video.name: video.attributes for video in videos},
        source=f'computed from the boxes of {out.resolve().name}',
    )
    table.save(str(out / 'annotations' / 'attributes.json'))


def options_of(cut: Cut, rules: BoxRules, **more) -> dict:
    """What ``write_videos`` notes: everything that decided about the set."""
    return {'cut': asdict(cut), 'rules': asdict(rules), **more}


def _covered(video: MOTVideo, cut: Cut) -> np.ndarray:
    """(N,) share of each box that is hidden."""
    known = video.visibility[video.track >= 0]
    told = len(known) > 0 and np.isfinite(known).all()
    if cut.occlusion == 'visibility' and not told:
        raise MMKDError(f"'{video.name}' has no visibility for each box. Use --occlusion overlap.")
    if cut.occlusion == 'visibility' or (cut.occlusion == 'auto' and told and np.ptp(known) > 0):
        return 1 - np.clip(np.nan_to_num(video.visibility, nan=1.0), 0, 1)
    return occlusion_by_overlap(video.frame, video.boxes)


def _parts(video: MOTVideo, cut: Cut) -> List[Tuple[str, int, int]]:
    """(split, first frame, frame after the last) of a sequence's parts."""
    frames = len(video.images)
    if cut.split == 'sequences':
        return [('test' if video.name in cut.test_sequences else 'train', 0, frames)]
    if cut.split in ('train', 'test'):
        return [(cut.split, 0, frames)]
    middle = frames - round(frames * cut.test_share)
    return [('train', 0, middle), ('test', min(frames, middle + cut.gap), frames)]


def _sides(frames: np.ndarray, parts, cut: Cut) -> List[Tuple[str, int, int]]:
    """The parts in which a track may be used."""
    if cut.split != 'tracks':
        return parts
    counts = [int(((frames >= first) & (frames < end)).sum()) for _, first, end in parts]
    return [parts[int(np.argmax(counts))]]


def _track_videos(
    video: MOTVideo,
    track: int,
    split: str,
    rows: np.ndarray,
    covered: np.ndarray,
    cut: Cut,
    rules: BoxRules,
    attribute_frames: int,
) -> List[SOTVideo]:
    rows = rows[np.argsort(video.frame[rows])]
    # A target's last box of a piece; the next piece begins after it.
    breaks = np.flatnonzero(np.diff(video.frame[rows]) > cut.max_gap + 1) + 1
    found: List[SOTVideo] = []
    for piece in np.split(rows, breaks):
        piece = piece[_first_clear(video, piece, covered, cut) :]
        if not len(piece):
            continue
        first, last = int(video.frame[piece[0]]), int(video.frame[piece[-1]])
        place = video.frame[piece] - first
        boxes, hidden = np.zeros((last - first + 1, 4)), np.zeros(last - first + 1)
        boxes[place], hidden[place] = video.boxes[piece], covered[piece]
        present = np.zeros(len(boxes), bool)
        present[place] = True
        outside = _is_out(boxes, present, video.size, cut.border)
        occluded = (~present | (hidden >= rules.full)) & ~outside
        if int((~occluded & ~outside).sum()) < cut.min_frames:
            continue
        hidden = np.where(occluded, 1.0, np.where(outside, 0.0, hidden))
        attributes = video_attributes(
            boxes, rules, attribute_frames,
            image_size=video.size, covered=hidden, absent=occluded | outside, outside=outside,
        )  # fmt: skip
        name = f'{video.name}-t{track}-{split}{len(found) + 1}'
        images = video.images[first : last + 1]
        if cut.clip:
            boxes = _clip(boxes, video.size)
        found.append(
            SOTVideo(name, split, video.name, images, boxes, occluded, outside, attributes)
        )
    return found


def _first_clear(video: MOTVideo, rows: np.ndarray, covered: np.ndarray, cut: Cut) -> int:
    """Index of the first row from which a tracker can learn its target, or their number."""
    if not len(rows):
        return 0
    boxes = video.boxes[rows]
    area = boxes[:, 2] * boxes[:, 3]
    shown = (1 - covered[rows]) * _inside(boxes, video.size)
    clear = (shown >= cut.start_visible) & (np.sqrt(area) >= cut.min_size)
    return int(clear.argmax()) if clear.any() else len(rows)


def _is_out(boxes: np.ndarray, present: np.ndarray, size, border: float) -> np.ndarray:
    """(T,) bool: wholly outside, or gone between two boxes one of which is at the border."""
    frames = np.arange(len(boxes))
    inside = np.ones(len(boxes))
    inside[present] = _inside(boxes[present], size)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    near = ((low < border) | (high > np.array(size) - border)).any(axis=1) & present
    # The first and the last frame have a box, so each other one has a box before and after it.
    before = np.maximum.accumulate(np.where(present, frames, 0))
    after = np.minimum.accumulate(np.where(present, frames, len(boxes) - 1)[::-1])[::-1]
    return np.where(present, inside <= 0, near[before] | near[after])


def _inside(boxes: np.ndarray, size) -> np.ndarray:
    """(N,) share of each box that is inside of the image."""
    cut = _clip(boxes, size)
    return cut[:, 2] * cut[:, 3] / np.maximum(boxes[:, 2] * boxes[:, 3], 1e-9)


def _clip(boxes: np.ndarray, size) -> np.ndarray:
    low = np.clip(boxes[:, :2], 0, size)
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, size)
    cut = np.concatenate([low, high - low], axis=1)
    # What is wholly outside has no box.
    return np.where((cut[:, 2:] > 0).all(axis=1, keepdims=True), cut, 0.0)
