"""The cache beside the live teacher, in the first steps of a training."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from mmengine.logging import MessageHub, print_log
from torch import Tensor

from mmkd.errors import MMKDError

from ..images import valid_mask, valid_quads
from .batches import Images, picture_size
from .fidelity import Fidelity, compare, put_together
from .manifest import WARP, Manifest

# What rounding of weights, and a library's other way to add, may add to what was measured when
# the cache was built.
_SLACK = 0.02

# Against features that are too far from the live ones once they are warped.
REMEDY = "A larger canvas=, a storage= that keeps more, weaker augmentation, or mode='exact' helps."


class Comparison:
    """Collects pictures until there are enough, and then judges.

    What it found is printed, and put into the run's message hub as ``cache/<path>/<feature>``.

    Args:
        path: The cache's folder, for messages.
        manifest: Of the cache.
        threshold: Warp mode: the smallest mean cosine that will do.
        count: Pictures that are looked at.
    """

    def __init__(self, path: str, manifest: Manifest, threshold: float, count: int):
        self.path, self.manifest, self.threshold = path, manifest, threshold
        self.count = self.left = count
        self._parts: Dict[str, List[Dict[str, Tensor]]] = {}

    def add(
        self,
        stored: Dict[str, Tensor],
        live: Dict[str, Tensor],
        samples: int,
        masks: Optional[Dict[str, Tensor]] = None,
    ) -> None:
        """Takes some more pictures; with the last of them, judges.

        Args:
            stored: The cache's features.
            live: The teacher's of the same pictures.
            samples: How many.
            masks: Places of maps that count.

        Raises:
            MMKDError: They are not near enough.
        """
        for name, value in live.items():
            if name in stored:
                found = compare(stored[name], value, (masks or {}).get(name))
                self._parts.setdefault(name, []).append(found)
        self.left -= samples
        if self.left <= 0:
            found = {name: put_together(parts) for name, parts in self._parts.items()}
            self._parts = {}
            # All of them, before one of them may be refused.
            for name, near in found.items():
                self._tell(name, near)
            for name, near in found.items():
                self._judge(name, near)

    def _tell(self, name: str, found: Fidelity) -> None:
        print_log(
            f"The cache '{self.path}' against the live teacher, {name!r} of the first pictures of "
            f'this training: {found}.',
            logger='current',
        )
        # A runner writes its hub into every checkpoint; without one nobody reads it.
        hub = MessageHub.get_current_instance()
        hub.update_info(f'cache/{self.path}/{name}', dict(found._asdict()))

    def _judge(self, name: str, found: Fidelity) -> None:
        built = self.manifest.report.get(name, {})
        if self.manifest.mode == WARP:
            # Not "<": a cosine may be NaN.
            if not found.cosine >= self.threshold:
                raise MMKDError(
                    f"The cache '{self.path}' is too far from the live teacher: the mean cosine "
                    f'of {name!r} is {found.cosine:.4f}, below threshold={self.threshold:g}. '
                    + REMEDY
                )
            return
        error = built.get('error', 0.0)
        if not found.error <= 1.5 * error + _SLACK:
            raise MMKDError(
                f"The cache '{self.path}' is not what the live teacher gives: {name!r} differs by "
                f'{found.error:.1%} from it, and by {error:.1%} when it was built. So these are '
                'other pictures than those it was built of; a library may draw or decode in '
                'another way here. Build it anew on this machine.'
            )


def masks_of(
    data_samples: Sequence[Any], images: Images, extent: Any, live: Dict[str, Tensor]
) -> Dict[str, Tensor]:
    """Where pictures are real, for maps; padding is nothing that a whole picture has features of.

    Args:
        data_samples: Of the pictures.
        images: The batch that they are of.
        extent: What the maps cover, in pixels of the input.
        live: Feature to map.
    """
    frames = len(next(iter(live.values()))) if live else 0
    quads = valid_quads(data_samples, frames, picture_size(images))
    return {
        name: valid_mask(quads, extent, tuple(value.shape[2:]), value.device)
        for name, value in live.items()
        if value.dim() == 4
    }
