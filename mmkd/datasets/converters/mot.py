"""From folders in MOTChallenge's layout to one CocoVID annotation file."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from mmkd.errors import MMKDError, nearest

from .badlines import BadLines
from .coco import free_path, write_json
from .motchallenge import Row, Sequence, read_gt, read_sequence

DETECTORS = ('FRCNN', 'SDP', 'DPM')
# The classes of MOT16, MOT17 and MOT20, with the names that mmtrack gives them. Of these only
# pedestrians are scored; the others are kept because the benchmark's rules mention them.
MOT_CLASSES = {
    1: 'pedestrian',
    2: 'person_on_vehicle',
    3: 'car',
    4: 'bicycle',
    5: 'motorbike',
    6: 'non_mot_vehicle',
    7: 'static_person',
    8: 'distractor',
    9: 'occluder',
    10: 'occluder_on_ground',
    11: 'occluder_full',
    12: 'reflection',
    13: 'crowd',
}
FrameFilter = Callable[[List[int]], List[int]]


def convert(
    folder: str,
    out_file: str,
    frames: FrameFilter | None = None,
    detector: str = 'FRCNN',
    classes: Dict[int, str] | None = None,
    fps: float | None = None,
    skip_bad: bool = False,
    force: bool = False,
) -> dict:
    """Writes the annotation file of a folder of sequences.

    Args:
        folder: Holds sequences, or is one. File names in the annotation file start at the folder
            that holds the sequences, which is what ``data_prefix.img_path`` must name.
        out_file: The json to write.
        frames: Chooses among a sequence's frame numbers; see ``half`` and ``frame_range``.
        detector: Of sequences that exist once for each public detector (MOT17), the copy to use;
            'all' uses each copy and knows a person by one id in all of them.
        classes: Class number in gt.txt -> name. None: MOTChallenge's.
        fps: Overrides the frame rate of seqinfo.ini.
        skip_bad: Leave out bad rows and images that are missing.
        force: Overwrite ``out_file``.

    Returns:
        ``sequences``: list of dicts (name, frames, boxes, ids, skipped); ``ids``, ``boxes``,
        ``frames``: totals; ``classes``: boxes by class name, of the classes that occur; ``file``.
        Ids are those with at least one box to be considered.

    Raises:
        MMKDError: If there is nothing to convert, or something in it is wrong.
    """
    out_path = free_path(out_file, force)
    names = MOT_CLASSES if classes is None else classes
    category_of = {class_id: i for i, class_id in enumerate(sorted(names), start=1)}
    content = {
        'categories': [{'id': category_of[c], 'name': names[c]} for c in sorted(names)],
        'videos': [],
        'images': [],
        'annotations': [],
    }
    folders = find_sequences(Path(folder), detector)
    has_gt = {path: (path / 'gt' / 'gt.txt').is_file() for path in folders}
    if any(has_gt.values()) and not all(has_gt.values()):
        without = ', '.join(path.name for path, has in has_gt.items() if not has)
        raise MMKDError(
            f"In '{folder}' some sequences have gt/gt.txt and these have not: {without}. Training "
            f'on them would teach that their people are background.'
        )
    people: Dict[Tuple[str, int], int] = {}
    report = []
    for path in folders:
        bad = BadLines(skip_bad)
        sequence = read_sequence(path, fps, bad)
        rows = []
        if has_gt[path]:
            rows, skipped = read_gt(path / 'gt' / 'gt.txt', sequence.frames, skip_bad)
            rows, ignored = _known_classes(rows, names, path, strict=classes is None)
            bad.counts.update(skipped + ignored)
        report.append(_add_sequence(content, sequence, rows, frames, category_of, people))
        report[-1]['skipped'] = dict(bad.counts)
    content['num_instances'] = len(people)
    write_json(out_path, content)
    considered = {
        ann['instance_id']
        for ann in content['annotations']
        if ann['mot_conf'] != 0 and ann['instance_id'] >= 0
    }
    boxes = Counter(ann['category_id'] for ann in content['annotations'])
    named = [(category['id'], category['name']) for category in content['categories']]
    return {
        'file': str(out_path),
        'sequences': report,
        'frames': len(content['images']),
        'boxes': len(content['annotations']),
        'ids': len(considered),
        'classes': {name: boxes[i] for i, name in named if boxes[i]},
    }


def find_sequences(folder: Path, detector: str = 'FRCNN') -> List[Path]:
    """The sequences of a folder, sorted by name, with one copy for each scene of MOT17."""
    if not folder.is_dir():
        raise MMKDError(f"The folder '{folder}' does not exist.")
    if detector not in (*DETECTORS, 'all'):
        choice = nearest(detector, (*DETECTORS, 'all'))
        raise MMKDError(f"There is no public detector '{detector}' in MOT17. {choice}")
    if _is_sequence(folder):
        return [folder]
    found = sorted(path for path in folder.iterdir() if path.is_dir() and _is_sequence(path))
    if not found:
        inner = [name for name in ('train', 'test', 'val') if (folder / name).is_dir()]
        hint = f" Did you mean '{folder / inner[0]}'?" if inner else ''
        raise MMKDError(
            f"'{folder}' holds no sequence: a folder with seqinfo.ini or with images in "
            f'img1/000001.jpg, 000002.jpg, ...{hint}'
        )
    if detector == 'all':
        return found
    copies = defaultdict(dict)
    for path in found:
        scene, copy = split_detector(path.name)
        copies[scene][copy] = path
    chosen = []
    for scene, by_detector in sorted(copies.items()):
        if None in by_detector:
            chosen.append(by_detector[None])
        elif detector in by_detector:
            chosen.append(by_detector[detector])
        else:
            there = ', '.join(sorted(by_detector))
            raise MMKDError(
                f"'{folder}' has '{scene}' for {there} but not for {detector}. Use "
                f'--detector {sorted(by_detector)[0]}.'
            )
    return chosen


def split_detector(name: str) -> Tuple[str, str | None]:
    """'MOT17-02-FRCNN' -> ('MOT17-02', 'FRCNN'); other names -> (name, None)."""
    match = re.fullmatch(rf'(MOT17-\d+)-({"|".join(DETECTORS)})', name)
    return (match.group(1), match.group(2)) if match else (name, None)


def half(which: str, style: str = 'mmtrack') -> FrameFilter:
    """The first or second half of each sequence.

    Args:
        which: 'train' (first half) or 'val'.
        style: 'mmtrack' cuts after n // 2 + 1 frames, 'fairmot' after n // 2
            (``src/gen_data_path.py`` of https://github.com/ifzhang/FairMOT).
    """

    def choose(numbers: List[int]) -> List[int]:
        middle = len(numbers) // 2 + (style == 'mmtrack')
        return numbers[:middle] if which == 'train' else numbers[middle:]

    return choose


def frame_range(text: str) -> FrameFilter:
    """A range of frame numbers written 'first:last' or 'first-last', both included.

    Raises:
        MMKDError: If the text is not a range.
    """
    match = re.fullmatch(r'\s*(\d*)\s*[:-]\s*(\d*)\s*', text)
    if not match or not any(match.groups()):
        raise MMKDError(f"'{text}' is no range of frames like 1:400 (both included).")
    first = int(match.group(1) or 1)
    last = int(match.group(2)) if match.group(2) else None
    if last is not None and last < first:
        raise MMKDError(f"'{text}' is no range of frames: it ends before it starts.")
    return lambda numbers: [n for n in numbers if n >= first and (last is None or n <= last)]


def parse_classes(text: str) -> Dict[int, str]:
    """Reads '1:person,2:vehicle'.

    Raises:
        MMKDError: If the text is not a list of number:name, or a number or name comes twice.
    """
    classes = {}
    for item in text.split(','):
        match = re.fullmatch(r'\s*(\d+)\s*:\s*(\S.*?)\s*', item)
        if not match:
            raise MMKDError(f"--classes: '{item}' is not number:name, as in 1:person,2:vehicle.")
        number, name = int(match.group(1)), match.group(2)
        if number in classes or name in classes.values():
            raise MMKDError(f"--classes names '{item.strip()}' twice.")
        classes[number] = name
    return classes


def _is_sequence(folder: Path) -> bool:
    return (folder / 'seqinfo.ini').is_file() or (folder / 'img1').is_dir()


def _known_classes(
    rows: List[Row], names: Dict[int, str], path: Path, strict: bool
) -> Tuple[List[Row], Counter]:
    """Leaves out classes that the user did not name; an unknown MOTChallenge class is an error."""
    unknown = Counter(row.class_id for row in rows if row.class_id not in names)
    if unknown and strict:
        row = next(row for row in rows if row.class_id not in names)
        raise MMKDError(
            f'{path}/gt/gt.txt, line {row.line}: class {row.class_id} is none of MOTChallenge '
            f'(1 to 13). Name your classes: --classes {row.class_id}:<name>,...'
        )
    kept = [row for row in rows if row.class_id in names]
    return kept, Counter({f'class {c} not named': n for c, n in unknown.items()})


def _add_sequence(
    content: dict,
    sequence: Sequence,
    rows: List[Row],
    frames: FrameFilter | None,
    category_of: Dict[int, int],
    people: Dict[Tuple[str, int], int],
) -> dict:
    """Appends a sequence to the file's content and returns its line of the report."""
    scene = split_detector(sequence.name)[0]
    numbers = list(sequence.frames)
    chosen = numbers if frames is None else frames(numbers)
    if not chosen:
        raise MMKDError(
            f"The chosen frames leave nothing of '{sequence.name}', which has frames "
            f'{numbers[0]} to {numbers[-1]}.'
        )
    by_frame = defaultdict(list)
    for row in rows:
        by_frame[row.frame].append(row)
    kept = set(chosen)
    for track in sorted({row.track for row in rows if row.frame in kept and row.track >= 0}):
        people.setdefault((scene, track), len(people))

    video_id = len(content['videos']) + 1
    content['videos'].append(
        {
            'id': video_id,
            'name': sequence.name,
            'scene': scene,
            'fps': sequence.fps,
            'width': sequence.width,
            'height': sequence.height,
        }
    )
    ids, boxes = set(), 0
    for frame_id, number in enumerate(chosen):
        image_id = len(content['images']) + 1
        content['images'].append(
            {
                'id': image_id,
                'video_id': video_id,
                'file_name': f'{sequence.name}/{sequence.img_dir}/{sequence.frames[number]}',
                'height': sequence.height,
                'width': sequence.width,
                'frame_id': frame_id,
                'mot_frame_id': number,
            }
        )
        for row in sorted(by_frame[number], key=lambda row: (row.track, row.line)):
            boxes += 1
            if row.conf != 0 and row.track >= 0:
                ids.add(row.track)
            content['annotations'].append(
                {
                    'id': len(content['annotations']) + 1,
                    'image_id': image_id,
                    'video_id': video_id,
                    'category_id': category_of[row.class_id],
                    'bbox': list(row.bbox),
                    'area': row.bbox[2] * row.bbox[3],
                    'iscrowd': False,
                    'ignore': False,
                    'instance_id': people.get((scene, row.track), -1),
                    'mot_instance_id': row.track,
                    'visibility': row.visibility,
                    'mot_conf': row.conf,
                    'mot_class_id': row.class_id,
                }
            )
    return {'name': sequence.name, 'frames': len(chosen), 'boxes': boxes, 'ids': len(ids)}
