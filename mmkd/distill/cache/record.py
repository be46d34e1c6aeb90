"""A sample's stored features on their way from a data loader's worker to the teacher."""

from __future__ import annotations

from typing import Optional, Tuple

from .shards import Record

# Where a data sample carries it.
FIELD = 'cached_features'


class StoredRecord:
    """What the cache has for one sample.

    It has no ``to()``: data preprocessors move what they can to the device, tensor by tensor; the
    teacher moves a whole batch at once.

    Args:
        variant: Which augmentation was replayed, or 0.
        tensors: Feature to what is stored of it; None if it could not be read.
        picture: (H, W) of the student's input that it belongs to.
        problem: Why there are no tensors.
    """

    __slots__ = ('variant', 'tensors', 'picture', 'problem')

    def __init__(
        self,
        variant: int,
        tensors: Optional[Record] = None,
        picture: Optional[Tuple[int, int]] = None,
        problem: str = '',
    ):
        self.variant, self.tensors, self.picture, self.problem = variant, tensors, picture, problem

    def __getstate__(self) -> tuple:
        return self.variant, self.tensors, self.picture, self.problem

    def __setstate__(self, state: tuple) -> None:
        self.variant, self.tensors, self.picture, self.problem = state

    def __repr__(self) -> str:
        what = self.problem or f'{len(self.tensors or ())} feature(s) of {self.picture}'
        return f'StoredRecord(variant {self.variant}: {what})'
