"""A batch as every teacher of the run sees it, whole or in part."""

from __future__ import annotations

from typing import Any, Dict, Optional, Union

from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

from ..images import to_rgb

Structure = Union[Tensor, Dict[str, Tensor]]


class Pictures:
    """What the student reads, back in colours: RGB, 0..255, in the student's own structure.

    All teachers of a step get these, so that they see the very same crops.

    Args:
        inputs: (N, 3, H, W), or a dict of that or of (N, T, 3, H, W).
        preprocessor: What made them.
    """

    def __init__(self, inputs: Any, preprocessor: nn.Module):
        if isinstance(inputs, dict):
            self.whole: Structure = {
                key: to_rgb(inputs, preprocessor, key).reshape(value.shape)
                for key, value in inputs.items()
                if isinstance(value, Tensor) and value.dim() in (4, 5)
            }
            self.count = len(next(iter(self.whole.values()), ()))
        else:
            self.whole = to_rgb(inputs, preprocessor)
            self.count = len(self.whole)

    def take(self, rows: Optional[Tensor]) -> Structure:
        """The samples of these rows, (n,) long; all of them for None."""
        if rows is None:
            return self.whole
        if isinstance(self.whole, dict):
            return {key: value.index_select(0, rows) for key, value in self.whole.items()}
        return self.whole.index_select(0, rows)

    def images(self, key: str) -> Tensor:
        """(N * T, 3, H, W): those of one entry, or the only ones."""
        value = self.whole
        if isinstance(value, dict):
            if key not in value:
                raise MMKDError(
                    f'image_key={key!r}: the inputs hold no such pictures. {nearest(key, value)}'
                )
            value = value[key]
        return value.flatten(0, 1) if value.dim() == 5 else value


def pictures_for(teacher: Any, inputs: Any, preprocessor: nn.Module, image_key: str) -> Structure:
    """What a teacher is given of a batch.

    Args:
        teacher: One that reads a picture, or all that the student reads.
        inputs: What the student reads.
        preprocessor: What made them.
        image_key: Which entry of a dict a teacher of one picture sees.
    """
    if reads_all(teacher):
        return Pictures(inputs, preprocessor).whole
    return to_rgb(inputs, preprocessor, image_key)


def reads_all(teacher: Any) -> bool:
    """Whether a teacher reads all that the student reads, not one picture."""
    return getattr(teacher, 'reads_all', hasattr(teacher, 'read'))
