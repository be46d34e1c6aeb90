"""Draws a training sample as the network gets it."""

from __future__ import annotations

import math
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mmkd.distill.images import valid_quads
from mmkd.visualization import TrackPainter

# Of a clip, more would not fit on a screen.
_MOST_FRAMES = 4
_GAP, _GREY = 6, (190, 190, 190)


class Frame(NamedTuple):
    """One picture of a sample.

    Attributes:
        name: The entry of the inputs, and which frame of a clip: 'img', 'search_img[1]'.
        image: (H, W, 3) uint8 BGR.
        boxes: (k, 4) x1y1x2y2 in its pixels.
        ids: (k,) int64, -1 unknown; None if the sample has no ids.
        labels: (k,) int64.
        quad: (4, 2), the corners of the real picture within it.
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    ids: Optional[np.ndarray]
    labels: np.ndarray
    quad: np.ndarray


class SamplePainter(TrackPainter):
    """Ids and names of ground truth: an unknown identity is '?', none at all says nothing."""

    has_ids = True

    def _label(self, track_id: int, label: Optional[int], score: Optional[float]) -> str:
        parts = []
        if self.has_ids:
            parts.append(str(track_id) if track_id >= 0 else '?')
        if label is not None and (len(self.classes) > 1 or not self.has_ids):
            known = 0 <= label < len(self.classes)
            parts.append(self.classes[label] if known else f'class {label}')
        return ' '.join(parts)


def frames_of(sample: Dict[str, Any]) -> List[Frame]:
    """The pictures of what a pipeline packs.

    Args:
        sample: ``inputs`` (an image (3, H, W), a clip (T, 3, H, W), or a dict of such) and
            ``data_samples``, as mmdet, mmpretrain and mmtrack pack them.
    """
    inputs, packed = sample.get('inputs'), sample.get('data_samples')
    if not isinstance(inputs, dict):
        inputs = {'img': inputs}
    return [
        frame
        for name, images in inputs.items()
        if isinstance(images, (Tensor, np.ndarray))
        for frame in _frames(name, torch.as_tensor(images), packed)
    ]


def paint(frames: Sequence[Frame], classes: Sequence[str], caption: str) -> np.ndarray:
    """Draws boxes, ids and the outline of the real picture, frames side by side.

    Args:
        frames: At least one.
        classes: Names by label.
        caption: Written above.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    painted = []
    # All of one enlargement, so that template and search region compare.
    scale = max(1, math.ceil(240 / min(min(frame.image.shape[:2]) for frame in frames)))
    if len(frames) == 1:
        scale = max(1, math.ceil(480 / min(frames[0].image.shape[:2])))
    for frame in frames[:_MOST_FRAMES]:
        painter = SamplePainter(classes, trail=0, caption=False, scale=scale)
        painter.has_ids = frame.ids is not None
        # Without ids, colours tell the classes apart.
        ids = frame.labels if frame.ids is None else frame.ids
        canvas = painter.paint(frame.image, frame.boxes, ids, frame.labels)
        outline = (frame.quad * scale).round().astype(np.int32)
        cv2.polylines(canvas, [outline], True, _GREY, 1, cv2.LINE_AA)
        painted.append(canvas)
    return _titled(_side_by_side(painted), caption)


def _frames(name: str, images: Tensor, packed: Any) -> Iterator[Frame]:
    clip = images if images.dim() == 4 else images[None]
    if clip.dim() != 4 or clip.shape[1] not in (1, 3):
        return
    prefix = name[: -len('img')] if name.endswith('img') else ''
    samples = [packed] if hasattr(packed, 'metainfo') else None
    quads = valid_quads(samples, len(clip), tuple(clip.shape[2:]), prefix)
    boxes, ids, labels, owner = _instances(packed, prefix)
    for index, image in enumerate(clip):
        mine = owner == index
        yield Frame(
            name if len(clip) == 1 else f'{name}[{index}]',
            _pixels(image),
            boxes[mine],
            None if ids is None else ids[mine],
            labels[mine],
            quads[index],
        )


def _instances(
    packed: Any, prefix: str
) -> Tuple[np.ndarray, Optional[np.ndarray], np.ndarray, np.ndarray]:
    """Boxes, ids, labels and the frame that each belongs to."""
    found = getattr(packed, f'{prefix}gt_instances', None)
    boxes = _get(found, 'bboxes')
    if boxes is None:
        none = np.zeros(0, np.int64)
        return np.zeros((0, 4)), None, none, none
    boxes = boxes.reshape(-1, 4).astype(np.float64)
    ids = _get(found, 'instances_ids', 'instances_id')
    labels = _get(found, 'labels')
    owner = _get(found, 'map_instances_to_img_idx')
    zeros = np.zeros(len(boxes), np.int64)
    return boxes, ids, zeros if labels is None else labels, zeros if owner is None else owner


def _get(instances: Any, *names: str) -> Optional[np.ndarray]:
    for name in names:
        value = getattr(instances, name, None)
        if value is not None:
            return np.asarray(getattr(value, 'tensor', value))
    return None


def _pixels(image: Tensor) -> np.ndarray:
    """(C, H, W) of any type as (H, W, 3) uint8; what is normalised is stretched to 0..255."""
    if image.dtype != torch.uint8:
        image = image.float()
        low, high = image.min(), image.max()
        if low < 0 or high > 255 or high <= 1:
            image = (image - low) * (255 / (high - low).clamp(min=1e-6))
        image = image.round().to(torch.uint8)
    return np.ascontiguousarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy())


def _side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    height = max(len(image) for image in images)
    parts: List[np.ndarray] = []
    for image in images:
        below = height - len(image)
        parts.append(cv2.copyMakeBorder(image, 0, below, 0, 0, cv2.BORDER_CONSTANT))
        parts.append(np.full((height, _GAP, 3), 255, np.uint8))
    return np.concatenate(parts[:-1], axis=1)


def _titled(image: np.ndarray, caption: str) -> np.ndarray:
    """A strip above, which hides nothing."""
    scale = max(0.45, image.shape[1] / 1600)
    (width, height), baseline = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    if width > image.shape[1] - 8:
        scale *= (image.shape[1] - 8) / width
    strip = np.full((height + 2 * baseline + 4, image.shape[1], 3), 32, np.uint8)
    place = (4, height + baseline)
    cv2.putText(
        strip, caption, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA
    )
    return np.concatenate([strip, image])
