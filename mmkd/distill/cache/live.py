"""How near warped features are to the live teacher's, measured when a cache is built."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .batches import Images, picture_size
from .codec import Codec
from .comparison import REMEDY, masks_of
from .fidelity import Fidelity, compare, put_together
from .warp import move

# What these numbers are called in the manifest's report, beside what storing alone costs.
_PREFIX = 'live_'

# Pictures on the canvas, (N, 3, h, w); the same as training draws them; their data samples.
Drawn = Tuple[Tensor, Images, Sequence[Any]]


def measure(
    codecs: Mapping[str, Codec], teacher: Any, canvas: Sequence[int], batches: Iterable[Drawn]
) -> Dict[str, Dict[str, float]]:
    """Does what training will do with the cache, and runs the live teacher beside it.

    Args:
        codecs: Fitted, on the teacher's device.
        teacher: That the cache is of, not its :class:`mmkd.CachedTeacher`.
        canvas: (h, w) in pixels.
        batches: Training samples, each with its own side of the mirror on the canvas.

    Returns:
        By feature ``live_cosine``, ``live_lowest`` and ``live_error``, for the manifest's report.
        Places of a map where the picture is not do not count.
    """
    parts: Dict[str, List[Dict[str, Tensor]]] = {name: [] for name in codecs}
    with torch.no_grad():
        for whole, images, samples in batches:
            size = picture_size(images)
            live = teacher.launch(images, samples).wait()
            live = {name: live[name] for name in codecs}
            kept = teacher(whole)
            stored = {
                name: codec.decode(codec.encode(kept[name])) for name, codec in codecs.items()
            }
            moved = move(stored, teacher, canvas, size, samples)
            masks = masks_of(samples, images, teacher.extent(size), live)
            for name, value in live.items():
                parts[name].append(compare(moved[name], value, masks.get(name)))
    return {
        name: {_PREFIX + key: value for key, value in put_together(found)._asdict().items()}
        for name, found in parts.items()
    }


def measured(entry: Mapping[str, float]) -> Optional[Fidelity]:
    """What :func:`measure` found for one feature.

    Args:
        entry: Of a manifest's report.

    Returns:
        None in exact mode, and of caches that were built before this was measured.
    """
    keys = [_PREFIX + key for key in Fidelity._fields]
    return Fidelity(*(entry[key] for key in keys)) if all(key in entry for key in keys) else None


def lines(report: Mapping[str, Mapping[str, float]]) -> List[str]:
    """A manifest's report for people: a line for each feature, and one for it warped."""
    told = []
    for name, entry in report.items():
        stored = Fidelity(*(entry[key] for key in Fidelity._fields))
        told.append(f'{name}: {stored}, {entry["explained"]:.1%} of the variance')
        warped = measured(entry)
        if warped is not None:
            told.append(f'{name}, warped, against the live teacher: {warped}')
    return told


def too_far(
    path: str, report: Mapping[str, Mapping[str, float]], threshold: float
) -> List[Tuple[str, str]]:
    """Features that training is going to refuse.

    Args:
        path: The cache's folder, for messages.
        report: Of its manifest.
        threshold: The teacher's: the smallest mean cosine that will do.

    Returns:
        What is wrong and what helps, of each.
    """
    found = []
    for name, entry in report.items():
        warped = measured(entry)
        # Not "<": a cosine may be NaN.
        if warped is not None and not warped.cosine >= threshold:
            found.append(
                (
                    f"Training will refuse the cache '{path}': warped as training warps it, "
                    f'{name!r} has a mean cosine of {warped.cosine:.4f} with the live teacher, '
                    f'below threshold={threshold:g}.',
                    f'{REMEDY} So does a lower threshold=, if that is near enough for you.',
                )
            )
    return found
