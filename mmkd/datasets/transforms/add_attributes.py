"""Attributes of a video on every frame of a pipeline."""

from __future__ import annotations

from pathlib import PurePath

from mmcv.transforms import BaseTransform

from mmkd.errors import MMKDError
from mmkd.registry import TRANSFORMS

from ..attributes import AttributeTable, load_attributes

_FRAME_FOLDERS = {'img', 'imgs', 'img1', 'color', 'frames'}


@TRANSFORMS.register_module()
class AddAttributes(BaseTransform):
    """Tells each frame which attributes its video has.

    A specialised teacher of a distiller is asked for the frames whose ``metainfo`` names its
    attributes. ``mmkd.MOTDataset(attributes=...)`` and our SOT data sets write that by themselves;
    this transform does it for any other data set. It may stand before the step that packs inputs,
    which must then have ``meta_keys=('attributes', 'attribute_groups')``, or after it, where
    nothing else is needed.

    Args:
        attributes: A file or folder as :func:`mmkd.datasets.attributes.load_attributes` reads it,
            or an AttributeTable.
        kind: What it is; default: recognised.
        by: The key that names the video; default: 'video_name', then 'scene', then the folder of
            the frame's ``img_path`` (not ``img1`` and the like).
        missing: 'error', or 'none': a video that the table lacks has no attributes.

    Added keys: ``attributes``, ``attribute_groups`` (tuples of str); after packing they are written
    to ``data_samples.metainfo``.

    Raises:
        MMKDError: If the table cannot be read, or lacks a video.
    """

    def __init__(
        self,
        attributes: str | AttributeTable,
        kind: str | None = None,
        by: str | None = None,
        missing: str = 'error',
    ) -> None:
        if missing not in ('error', 'none'):
            raise MMKDError(f"AddAttributes: missing is 'error' or 'none', but got '{missing}'.")
        if not isinstance(attributes, AttributeTable):
            attributes = load_attributes(attributes, kind)
        self.table, self.by, self.missing = attributes, by, missing

    def transform(self, results: dict) -> dict:
        """Adds the two keys, or writes them into a packed sample."""
        sample = results.get('data_samples')
        video = self._video(results if sample is None else {**results, **sample.metainfo})
        if self.missing == 'none' and video not in self.table:
            found = {'attributes': (), 'attribute_groups': ()}
        else:
            found = {
                'attributes': self.table.of(video),
                'attribute_groups': self.table.groups_of(video),
            }
        if sample is None:
            results.update(found)
        else:
            sample.set_metainfo(found)
        return results

    def _video(self, info: dict) -> str:
        for key in (self.by,) if self.by else ('video_name', 'scene'):
            if info.get(key):
                return str(info[key])
        path = info.get('img_path')
        if self.by or not isinstance(path, str):
            raise MMKDError(
                f'AddAttributes does not know the video of this frame: it has no '
                f'{repr(self.by) if self.by else "video_name, scene or (single) img_path"}. It has '
                f'{", ".join(sorted(map(str, info)))}. In TransformBroadcaster it sees one frame '
                'at a time.'
            )
        parts = PurePath(path).parts[:-1]
        return next((part for part in reversed(parts) if part not in _FRAME_FOLDERS), '')

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}('{self.table.source}', by={self.by!r}, "
            f'missing={self.missing!r})'
        )
