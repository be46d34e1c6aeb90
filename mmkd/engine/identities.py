"""One range of identity labels for a whole mixture of datasets."""

from __future__ import annotations

import os.path as osp
import re
from typing import Iterator, List

from mmengine.logging import MMLogger

from mmkd.errors import MMKDError

# The one benchmark that has each scene several times, once for each public detector.
COPIED_SCENE = re.compile(r'MOT17-\d+')


def assign_id_offsets(dataset) -> int:
    """Gives each dataset of a mixture its own range of identity labels.

    Every dataset counts its identities from 0. The classifier of a tracker that learns
    re-identification sees all of them at once, so they are laid end to end, in the order in which
    the config names the datasets. That order, and nothing of the machine, decides the labels.

    Datasets of the same people share one range: those that read the same annotation file, and
    the copies of MOT17 that differ in their public detections only, whatever their files.

    Args:
        dataset: A dataset, or wrappers around datasets to any depth (``ConcatDataset``,
            ``RepeatDataset``, ``ClassBalancedDataset``: anything with ``.datasets`` or
            ``.dataset``). A dataset that appears twice keeps one range.

    Returns:
        The number of identities in all, which is the size of the classifier.

    Raises:
        MMKDError: If a dataset does not count its identities.
    """
    logger = MMLogger.get_current_instance()
    total, seen, rows = 0, [], []
    for path, leaf in leaves(dataset, 'dataset'):
        num_ids = getattr(leaf, 'num_ids', None)
        if num_ids is None:
            raise MMKDError(
                f'{path} is a {type(leaf).__name__}, which does not count its identities, so a '
                f'tracker that learns re-identification cannot be trained on it. Use '
                f"type='mmkd.MOTDataset', or give the class an attribute num_ids."
            )
        related = [(other, where) for other, where in seen if _share_people(leaf, other)]
        equal = [other for other, _ in related if _people(other) == _people(leaf)]
        if equal:
            leaf.id_offset = equal[0].id_offset
        else:
            leaf.id_offset = total
            total += int(num_ids)
            for _, where in related:
                logger.warning(
                    f'{path} and {where} hold some of the same people, but not all, so that a '
                    f'person may get two labels. Make one annotation file of both.'
                )
        seen.append((leaf, path))
        labels = f'{leaf.id_offset} to {leaf.id_offset + num_ids - 1}' if num_ids else '-'
        size = len(leaf) if hasattr(leaf, '__len__') else '?'
        rows.append((path, str(getattr(leaf, 'ann_file', '')), str(size), str(num_ids), labels))
    rows.append(('in all', '', '', str(total), ''))
    logger.info('identities of the training data\n' + _table(rows))
    return total


def _people(leaf) -> object:
    return getattr(leaf, 'people_hash', None)


def _share_people(a, b) -> bool:
    """Whether two datasets are of the same scenes, so that their people are the same."""
    if a is b:
        return True
    if _people(a) is None or _people(b) is None:
        return False
    if osp.realpath(a.ann_file) == osp.realpath(b.ann_file):
        return True
    return any(COPIED_SCENE.fullmatch(scene) for scene in a.scenes & b.scenes)


def _table(rows: List[tuple]) -> str:
    rows = [('dataset', 'annotation file', 'images', 'ids', 'labels'), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return '\n'.join(
        '  '.join(
            cell.rjust(width) if i in (2, 3) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def leaves(dataset, path: str) -> Iterator[tuple]:
    """Yields (path in the config, dataset) of everything that is not a wrapper, in order."""
    if getattr(dataset, 'num_ids', None) is None:
        inner = getattr(dataset, 'datasets', None)
        if inner is not None:
            for index, child in enumerate(inner):
                yield from leaves(child, f'{path}.datasets[{index}]')
            return
        inner = getattr(dataset, 'dataset', None)
        if inner is not None:
            yield from leaves(inner, f'{path}.dataset')
            return
    yield path, dataset
