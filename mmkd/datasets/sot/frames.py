"""Paths of a video's frames, made one by one."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence


class FramePaths(Sequence):
    """Looks like the list of all paths of a video's frames, without being one.

    A pair of frames of two LaSOT videos would otherwise need 5,000 strings.

    Args:
        folder: Of the frames.
        template: A %-format of the number, e.g. '%08d.jpg'.
        numbers: Of the frames, in order.
    """

    def __init__(self, folder: str, template: str, numbers: range) -> None:
        self.folder, self.template, self.numbers = folder, template, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index):
        found = self.numbers[index]
        if isinstance(index, slice):
            return FramePaths(self.folder, self.template, found)
        return osp.join(self.folder, self.template % found)
