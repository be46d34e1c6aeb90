"""Are the data sets' files there, and what is in them?"""

from __future__ import annotations

import json
import os.path as osp
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .doctor_case import Case, LeftOut
from .doctor_page import Section, some

# Looking for every image of a large set on a network disk would take minutes.
LOOKED_FOR = 2000
_SPLITS = ('train', 'val', 'test')
_REMEDY = (
    'docs/datasets.md has the command that makes each data set. If the data lie elsewhere: '
    '--cfg-options {split}_dataloader.{path}.data_root=FOLDER, for the doctor and for training.'
)


@dataclass
class Contents:
    """What a COCO or CocoVID file holds.

    Attributes:
        counts: 'videos', 'images', 'boxes', 'ids', for what the file has.
        images: File names, as written there.
        wrong: What cannot be right, as sentences.
    """

    counts: Dict[str, int] = field(default_factory=dict)
    images: List[str] = field(default_factory=list)
    wrong: List[str] = field(default_factory=list)


def look(case: Case, section: Section) -> None:
    """Annotation files, image folders and counts of every data set in the config."""
    rows: List[Tuple[str, ...]] = []
    known: Dict[str, Contents] = {}
    seen: List[Any] = []
    section.data['datasets'] = []
    for split in _SPLITS:
        loader = case.cfg.get(f'{split}_dataloader')
        if not isinstance(loader, dict) or loader in seen:
            continue
        seen.append(loader)
        for path, leaf in leaf_configs(loader.get('dataset'), 'dataset'):
            entry = _look_at(split, path, leaf, known, section)
            section.data['datasets'].append(entry)
            case.data_missing |= split == 'train' and bool(entry['lacking'])
            counts = [str(entry.get(key, '-')) for key in ('videos', 'images', 'boxes', 'ids')]
            rows.append((split, str(leaf.get('type')), *counts, entry['ann_file'] or '-'))
    if not rows:
        raise LeftOut('The config has no dataloader with a data set that is described by a dict.')
    section.table(('split', 'type', 'videos', 'images', 'boxes', 'ids', 'annotations'), rows)
    if 'train' not in {row[0] for row in rows}:
        section.stop('The config has no train_dataloader.', 'Add one; see configs/_base_/datasets.')


def leaf_configs(cfg: Any, path: str) -> Iterator[Tuple[str, dict]]:
    """Path in the config and config of every data set that is no wrapper, in order."""
    if not isinstance(cfg, dict):
        return
    inner = cfg.get('datasets')
    if isinstance(inner, (list, tuple)):
        for index, child in enumerate(inner):
            yield from leaf_configs(child, f'{path}.datasets.{index}')
    elif isinstance(cfg.get('dataset'), dict):
        yield from leaf_configs(cfg['dataset'], f'{path}.dataset')
    else:
        yield path, cfg


def read(path: str) -> Contents:
    """Counts what a COCO or CocoVID json holds.

    Raises:
        ValueError: It is no json of that kind.
    """
    with open(path, encoding='utf-8') as file:
        content = json.load(file)
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        raise ValueError("it has no list of 'images'")
    images, boxes = content['images'], content.get('annotations') or []
    found = Contents(dict(images=len(images), boxes=len(boxes)))
    found.images = [str(image.get('file_name', '')) for image in images]
    video_of = {image.get('id'): image.get('video_id') for image in images}
    if 'videos' in content:
        found.counts['videos'] = len(content['videos'])
        found.counts['ids'] = len(
            {
                (video_of.get(box.get('image_id')), box['instance_id'])
                for box in boxes
                if box.get('instance_id') is not None and box['instance_id'] >= 0
            }
        )
    lost = sum(box.get('image_id') not in video_of for box in boxes)
    flat = sum('bbox' in box and min(box['bbox'][2:]) <= 0 for box in boxes)
    if lost:
        found.wrong.append(f'{lost} annotations belong to no image of the file')
    if flat:
        found.wrong.append(f'{flat} boxes have no width or height')
    if not images:
        found.wrong.append('it lists no images')
    return found


def _look_at(
    split: str, path: str, leaf: dict, known: Dict[str, Contents], section: Section
) -> Dict[str, Any]:
    """One data set: its problems go to the section, its counts are returned."""
    root = leaf.get('data_root') or ''
    file = _join(root, leaf.get('ann_file'))
    entry: Dict[str, Any] = dict(split=split, path=path, ann_file=file)
    remedy = _REMEDY.format(split=split, path=path)
    # Testing is another command; a test set that is not here stops no training.
    tell = section.warn if split == 'test' else section.stop
    where = f'{split}_dataloader.{path} ({leaf.get("type")})'
    folders = _folders(root, leaf.get('data_prefix', leaf.get('img_prefix')))
    lacking = [
        f'the folder {folder!r}'
        for folder in [*folders, *([root] if root and not folders else [])]
        if not _remote(folder) and not osp.isdir(folder)
    ]
    if file and not _remote(file) and not osp.isfile(file):
        lacking.append(f'the annotation file {file!r}')
    entry['lacking'] = lacking
    if lacking:
        do = 'do' if len(lacking) > 1 else 'does'
        tell(f'{where}: {" and ".join(lacking)} {do} not exist.', remedy)
    if not file.endswith('.json') or not osp.isfile(file):
        return entry
    try:
        contents = known.get(osp.realpath(file)) or read(file)
    except Exception as error:  # broken json fails in several ways
        tell(f'{where}: {file!r} cannot be read: {error}.', 'Make it again; it may be cut short.')
        return entry
    known[osp.realpath(file)] = contents
    entry.update(contents.counts)
    for wrong in contents.wrong:
        section.warn(f'{file!r}: {wrong}.', 'Convert the data again, and read what it prints.')
    if folders and osp.isdir(folders[0]):
        entry['images_missing'] = _missing_images(folders[0], contents.images)
        if entry['images_missing']:
            missing = entry['images_missing']
            looked = min(len(contents.images), LOOKED_FOR)
            tell(
                f'{where}: of {looked} images that were looked for in {folders[0]!r}, '
                f'{len(missing)} are not there: {some(missing)}.',
                "The annotation file's names start from data_prefix; complete the data, or "
                'convert again.',
            )
    return entry


def _join(root: str, path: Optional[str]) -> str:
    if not isinstance(path, str) or not path:
        return ''
    return path if not root or osp.isabs(path) or _remote(path) else osp.join(root, path)


def _remote(path: str) -> bool:
    return '://' in path or path.startswith('s3:')


def _folders(root: str, prefix: Any) -> List[str]:
    values = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
    return [_join(root, value) or root for value in values if isinstance(value, str) and value]


def _missing_images(folder: str, names: List[str]) -> List[str]:
    step = max(len(names) // LOOKED_FOR, 1)
    sample = names[::step][:LOOKED_FOR]
    return [name for name in sample if not osp.isfile(osp.join(folder, name))]
