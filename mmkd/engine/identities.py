"""One range of identity labels for a whole mixture of datasets."""

from __future__ import annotations

from typing import Iterator

from mmengine.logging import MMLogger

from mmkd.errors import MMKDError


def assign_id_offsets(dataset) -> int:
    """Gives each dataset of a mixture its own range of identity labels.

    Every dataset counts its identities from 0. The classifier of a tracker that learns
    re-identification sees all of them at once, so they are laid end to end, in the order in which
    the config names the datasets. That order, and nothing of the machine, decides the labels.

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
    total = 0
    seen = set()
    for path, leaf in _leaves(dataset, 'dataset'):
        if id(leaf) in seen:
            continue
        seen.add(id(leaf))
        num_ids = getattr(leaf, 'num_ids', None)
        if num_ids is None:
            raise MMKDError(
                f'{path} is a {type(leaf).__name__}, which does not count its identities, so a '
                f'tracker that learns re-identification cannot be trained on it. Use '
                f"type='mmkd.MOTDataset', or give the class an attribute num_ids."
            )
        leaf.id_offset = total
        where = getattr(leaf, 'ann_file', '')
        logger.info(f'{path} ({type(leaf).__name__} {where}): {num_ids} ids from {total}')
        total += int(num_ids)
    logger.info(f'identities in all: {total}')
    return total


def _leaves(dataset, path: str) -> Iterator[tuple]:
    """Yields (path in the config, dataset) of everything that is not a wrapper, in order."""
    if getattr(dataset, 'num_ids', None) is None:
        inner = getattr(dataset, 'datasets', None)
        if inner is not None:
            for index, child in enumerate(inner):
                yield from _leaves(child, f'{path}.datasets[{index}]')
            return
        inner = getattr(dataset, 'dataset', None)
        if inner is not None:
            yield from _leaves(inner, f'{path}.dataset')
            return
    yield path, dataset
