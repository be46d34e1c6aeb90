"""Toy boxes of a batch, and how to look them up slowly."""

from __future__ import annotations

import torch

from mmkd.distill.instances import Instances

SIZE = (40, 60)
# Image 1 has none; the boxes: ordinary, smaller than a cell, over the border, outside, without
# area, the whole picture.
BOXES = [
    [(3, 4, 25, 31), (31, 11, 32, 12.5), (-12, -3, 17, 22), (70, 3, 80, 9)],
    [],
    [(41, 8, 41, 30), (-5, -5, 100, 100), (20, 15, 52, 39.5)],
]
IDS = [[7, 3, -1, 5], [], [7, 3, 9]]


def make(boxes=BOXES, ids=IDS, size=SIZE) -> Instances:
    flat = [box for image in boxes for box in image]
    return Instances(
        boxes=torch.tensor(flat, dtype=torch.float32).reshape(-1, 4),
        image=torch.tensor([n for n, image in enumerate(boxes) for _ in image], dtype=torch.long),
        ids=torch.tensor([number for image in ids for number in image], dtype=torch.long),
        labels=torch.zeros(len(flat), dtype=torch.long),
        size=size,
        num_images=len(boxes),
        counts=tuple(len(image) for image in boxes),
    )


def empty(num_images=3) -> Instances:
    return make([[]] * num_images, [[]] * num_images)


def maps(channels=5, teacher_channels=None, grid=(6, 8), num_images=3, dtype=torch.float64):
    """A student's map with a gradient, a teacher's, and a bool mask."""
    generator = torch.Generator().manual_seed(0)

    def random(c):
        return torch.randn(num_images, c, *grid, dtype=dtype, generator=generator)

    mask = torch.rand(num_images, 1, *grid, generator=generator) > 0.3
    return random(channels).requires_grad_(), random(teacher_channels or channels), mask


def slow_box_mean(x, instances, mask=None):
    """Per box its mean vector and weight, by loops over the cells; None for weight 0."""
    height, width = instances.size
    h, w = x.shape[2:]
    out = []
    for n, box in zip(instances.image.tolist(), instances.boxes.tolist()):
        total, weight, area = 0, 0.0, 0.0
        for i in range(h):
            for j in range(w):
                top, left = i * height / h, j * width / w
                down = min(box[3], top + height / h) - max(box[1], top)
                across = min(box[2], left + width / w) - max(box[0], left)
                if down <= 0 or across <= 0:
                    continue
                area += down * across
                part = down * across * (1.0 if mask is None else float(mask[n, 0, i, j]))
                if part:
                    total, weight = total + part * x[n, :, i, j], weight + part
        out.append((total / weight if weight else None, weight / area if area else 0.0))
    return out


def slow_centre(x, instances, mask=None):
    height, width = instances.size
    h, w = x.shape[2:]
    out = []
    for n, (x1, y1, x2, y2) in zip(instances.image.tolist(), instances.boxes.tolist()):
        i = min(max(int((y1 + y2) / 2 / height * h), 0), h - 1)
        j = min(max(int((x1 + x2) / 2 / width * w), 0), w - 1)
        seen = min(x2, width) > max(x1, 0) and min(y2, height) > max(y1, 0)
        weight = (1.0 if mask is None else float(mask[n, 0, i, j])) if seen else 0.0
        out.append((x[n, :, i, j] if weight else None, weight))
    return out


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()
