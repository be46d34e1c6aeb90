"""The annotated boxes of a batch in one table, whatever project its samples come from."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from mmkd.errors import MMKDError

# mmtrack's name and that of mmdet since 3.1.
_ID_NAMES = ('instances_id', 'instances_ids')


class Instances(NamedTuple):
    """M boxes in the N images of a batch; images ascend.

    Attributes:
        boxes: (M, 4) float32, x1, y1, x2, y2 in input pixels; they may leave the picture.
        image: (M,) long in [0, N), the image of each.
        ids: (M,) long, -1 where unknown; equal only for the same identity.
        labels: (M,) long, class; -1 where there is none.
        size: (H, W), the input pixels that the maps cover on which the boxes are looked up: the
            input's size, or more where a teacher pads on the right and the bottom.
        num_images: N.
        counts: Boxes of each data sample, known to the host. A sample is an image, or all of a
            clip's frames together, so that no image has more than ``max(counts)``.
    """

    boxes: Tensor
    image: Tensor
    ids: Tensor
    labels: Tensor
    size: Tuple[float, float]
    num_images: int
    counts: Tuple[int, ...]

    @property
    def most(self) -> int:
        """No image has more boxes than this; the host need not wait for it."""
        return max(self.counts, default=0)

    def inside(self) -> Tensor:
        """(M,) bool: which boxes have an area within the picture."""
        height, width = self.size
        x1, y1, x2, y2 = self.boxes.unbind(1)
        across = x2.clamp(max=width) - x1.clamp(min=0)
        down = y2.clamp(max=height) - y1.clamp(min=0)
        return (across > 0) & (down > 0)

    def slots(self) -> Tensor:
        """(M,) long: each box's place in a table of N rows of ``most``, laid flat."""
        order = torch.arange(len(self.image), device=self.image.device)
        images = torch.arange(self.num_images, device=self.image.device)
        first = torch.searchsorted(self.image, images)
        return self.image * self.most + order - first[self.image]

    def table(self, rows: Tensor) -> Tensor:
        """Lays rows out image by image.

        Args:
            rows: (M, ...), one for each box.

        Returns:
            (N, most, ...), with zeros behind the boxes of an image.
        """
        empty = rows.new_zeros(self.num_images * self.most, *rows.shape[1:])
        filled = empty.index_copy(0, self.slots(), rows)
        return filled.reshape(self.num_images, self.most, *rows.shape[1:])


def collect_instances(
    data_samples: Optional[Sequence[Any]],
    num_images: int,
    size: Tuple[float, float],
    device: torch.device,
    prefix: str = '',
) -> Instances:
    """Gathers the ground truth of a batch.

    Nothing is imported from the projects: a sample has ``gt_instances`` with ``bboxes`` (a tensor
    or an object with ``.tensor``, mmdet's HorizontalBoxes), and perhaps ``labels`` and
    ``instances_id`` (mmtrack) or ``instances_ids`` (mmdet). Of a clip of T frames, frame t of
    sample s is image s * T + t, and ``map_instances_to_img_idx`` tells the frames of the boxes.

    What lies on the device is concatenated there; what lies on the host is copied once. Neither
    makes the host wait.

    Args:
        data_samples: One per image, or one per clip.
        num_images: Images in the batch, the frames of clips counted.
        size: See :class:`Instances`.
        device: Where the table is wanted.
        prefix: What the names begin with, such as mmtrack's 'ref_' or 'search_'.

    Returns:
        The table. Identities are taken as the samples have them: they must be unique over all
        data sets of a mixture, as :class:`mmkd.MOTDataset` makes them.

    Raises:
        MMKDError: No sample has boxes, or samples and images do not fit.
    """
    name = f'{prefix}gt_instances'
    truths = [getattr(sample, name, None) for sample in data_samples or ()]
    if all(truth is None for truth in truths):
        raise MMKDError(
            f'Something in the distill entries needs ground-truth boxes, but no data sample has '
            f'{name!r}. Load annotations in the training pipeline and pack them '
            "(LoadTrackAnnotations and PackTrackInputs, or mmdet's)."
        )
    if num_images % len(truths):
        raise MMKDError(f'{num_images} images cannot belong to {len(truths)} data samples.')
    frames = num_images // len(truths)
    # A sample without labels beside others with some has no boxes.
    source = next(_boxes(truth, name).device for truth in truths if truth is not None)
    boxes = [_boxes(truth, name).to(source, non_blocking=True) for truth in truths]
    counts = [len(box) for box in boxes]
    # From sizes that the host knows: repeat_interleave on the device would wait.
    image = torch.from_numpy(np.repeat(np.arange(len(truths)) * frames, counts))
    columns = [
        image.to(source, non_blocking=True),
        torch.cat([_column(t, _ID_NAMES, box, name) for t, box in zip(truths, boxes)]),
        torch.cat([_column(t, ('labels',), box, name) for t, box in zip(truths, boxes)]),
    ]
    if frames > 1:
        columns[0] = columns[0] + torch.cat(_frames_of(truths, boxes, name))
    table = torch.cat(boxes)
    if table.device != torch.device(device):
        columns, table = _copy(columns, table, device)
    if frames > 1:
        # Within a clip the boxes stand frame by frame, unless a transform has mixed them.
        columns[0], order = columns[0].sort(stable=True)
        columns[1:], table = [column[order] for column in columns[1:]], table[order]
    return Instances(table, *columns, size, num_images, tuple(counts))


def _boxes(truth: Any, name: str) -> Tensor:
    if truth is None:
        return torch.zeros(0, 4)
    boxes = getattr(truth, 'bboxes', None)
    if boxes is None:
        raise MMKDError(
            f'The {name} of a data sample have no bboxes: the pipeline packs its samples without '
            "loading annotations (LoadTrackAnnotations, or mmdet's LoadAnnotations)."
        )
    boxes = torch.as_tensor(getattr(boxes, 'tensor', boxes))
    if not boxes.numel():
        boxes = boxes.reshape(0, 4)
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise MMKDError(f'The bboxes of {name} must be (k, 4), but are {tuple(boxes.shape)}.')
    return boxes.detach().float()


def _column(truth: Any, names: Sequence[str], boxes: Tensor, owner: str) -> Tensor:
    for name in names:
        values = getattr(truth, name, None)
        if values is not None:
            return _checked(torch.as_tensor(values), boxes, f'{name} of {owner}')
    return torch.full((len(boxes),), -1, dtype=torch.long, device=boxes.device)


def _checked(values: Tensor, boxes: Tensor, what: str) -> Tensor:
    if values.dim() != 1 or len(values) != len(boxes):
        raise MMKDError(
            f'The {what} must be one number for each of {len(boxes)} boxes, but their shape is '
            f'{tuple(values.shape)}.'
        )
    return values.to(boxes.device, torch.long, non_blocking=True)


def _frames_of(truths: Sequence[Any], boxes: Sequence[Tensor], owner: str) -> List[Tensor]:
    out = []
    for truth, box in zip(truths, boxes):
        values = getattr(truth, 'map_instances_to_img_idx', None)
        if values is None and len(box):
            raise MMKDError(
                f'The samples are clips of several frames, but their {owner} have no '
                'map_instances_to_img_idx, so that nobody knows which frame a box belongs to. '
                'PackTrackInputs writes it.'
            )
        values = torch.zeros(len(box)) if values is None else torch.as_tensor(values)
        out.append(_checked(values, box, f'map_instances_to_img_idx of {owner}'))
    return out


def _copy(columns: List[Tensor], boxes: Tensor, device: Any) -> Tuple[List[Tensor], Tensor]:
    """One transfer: the floats travel as the integers that their bits spell."""
    bits = boxes.contiguous().view(torch.int32).long()
    packed = torch.cat([torch.stack(columns, dim=1), bits], dim=1)
    packed = packed.to(device, non_blocking=True)
    boxes = packed[:, 3:].to(torch.int32).contiguous().view(torch.float32)
    return [column.contiguous() for column in packed[:, :3].unbind(1)], boxes
