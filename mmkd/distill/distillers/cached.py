"""What cached teachers want of the training data."""

from __future__ import annotations

from typing import Any, Dict, List

from mmkd.errors import MMKDError


def data_needs(teachers: Dict[str, Any]) -> Dict[str, Any]:
    """Arguments of the ``mmkd.ReplayDataset`` that the training set must be in.

    Args:
        teachers: Those that training uses, by name.

    Returns:
        {} if none of them reads a cache.

    Raises:
        MMKDError: Two need different ones.
    """
    needs: Dict[str, Any] = {}
    caches: List[str] = []
    for teacher in teachers.values():
        ask = getattr(teacher, 'data_needs', None)
        if ask is None:
            continue
        own = ask()
        cache = own.pop('cache')
        caches += [cache] if cache is not None else []
        if needs and own != needs:
            raise MMKDError(
                f'The cached teachers of this run need other training samples: {needs} and {own}. '
                'Give all of them the same mode=, variants= and seed=.'
            )
        needs = own
    return dict(needs, cache=caches) if needs else {}


def build_caches(
    teachers: Dict[str, Any], student: Any, image_key: str, dataset: Any, start: float
) -> None:
    """Builds what caches lack, for teachers that want it before training.

    Args:
        teachers: Those that training uses, by name.
        student: Whose data preprocessor makes what teachers see.
        image_key: Which of its inputs that is.
        dataset: The ``mmkd.ReplayDataset`` of the run.
        start: Share of the work that this process leaves to others at first.
    """
    reference = next(student.parameters(), None)
    device = None if reference is None else reference.device
    for teacher in teachers.values():
        if getattr(teacher, 'missing', None) == 'build':
            dataset.build_cache(teacher, student.data_preprocessor, image_key, device, start)
