"""Do model and training data speak of the same number of classes?"""

from __future__ import annotations

from mmengine.logging import MMLogger

from mmkd.errors import MMKDError

from .identities import leaves


def check_classes(dataset, num_classes: int) -> None:
    """Compares the classes of the training data with what the model has an output for.

    Targets are drawn without looking: a label too large would be drawn into the next image's maps.

    Args:
        dataset: A dataset with ``metainfo['classes']``, or wrappers around such; others are passed
            over.
        num_classes: The model's.

    Raises:
        MMKDError: If a dataset has more classes than the model.
    """
    for path, leaf in leaves(dataset, 'dataset'):
        names = (getattr(leaf, 'metainfo', None) or {}).get('classes')
        if names is None:
            continue
        told = f'{path} has {len(names)} classes ({", ".join(map(str, names))})'
        if len(names) > num_classes:
            raise MMKDError(
                f'{told}, but the model has outputs for {num_classes}. Set '
                f'model.head.num_classes={len(names)}, or name fewer classes in the '
                "data set's metainfo."
            )
        if len(names) < num_classes:
            MMLogger.get_current_instance().warning(
                f'{told} and the model has outputs for {num_classes}: some of them see no example.'
            )
