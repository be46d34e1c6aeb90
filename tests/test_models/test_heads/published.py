"""FairMOT's targets and losses as plain loops over objects, cells and classes.

A reference in our own words for the tests: nothing here is fast, batched or shared with mmkd.
"""

from __future__ import annotations

import math
from typing import List, NamedTuple


class Thing(NamedTuple):
    """One object: xyxy in input pixels, class, identity (-1: unknown)."""

    box: tuple
    label: int = 0
    identity: int = -1


def radius_of(height: int, width: int, overlap: float = 0.7) -> int:
    area, both = height * width, height + width
    first = (both + math.sqrt(both**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    second = (2 * both + math.sqrt(4 * both**2 - 16 * (1 - overlap) * area)) / 2
    b = -2 * overlap * both
    third = (b + math.sqrt(b**2 + 16 * overlap * (1 - overlap) * area)) / 2
    return max(0, int(min(first, second, third) + 1e-9))


def targets_of(things: List[Thing], classes: int, rows: int, columns: int, limit: int = 500):
    """The heatmap as nested lists, and (row, column, ltrb, offset, identity) of each object."""
    heatmap = [[[0.0] * columns for _ in range(rows)] for _ in range(classes)]
    objects = []
    for thing in things[:limit]:
        x1, y1, x2, y2 = (side / 4 for side in thing.box)
        if x2 <= x1 or y2 <= y1:
            continue
        cx = min(max((x1 + x2) / 2, 0), columns - 1)
        cy = min(max((y1 + y2) / 2, 0), rows - 1)
        column, row = int(cx), int(cy)
        radius = radius_of(math.ceil(y2 - y1), math.ceil(x2 - x1))
        sigma = (2 * radius + 1) / 6
        for y in range(max(0, row - radius), min(rows, row + radius + 1)):
            for x in range(max(0, column - radius), min(columns, column + radius + 1)):
                far = (x - column) ** 2 + (y - row) ** 2
                value = math.exp(-far / (2 * sigma**2))
                heatmap[thing.label][y][x] = max(heatmap[thing.label][y][x], value)
        sides = (cx - x1, cy - y1, x2 - cx, y2 - cy)
        objects.append((row, column, sides, (cx - column, cy - row), thing.identity))
    return heatmap, objects


def losses_of(outputs, images, classifier, num_ids, s_det, s_id, loss_id='cross_entropy') -> dict:
    """Each term and the weighted sum, from maps as nested lists.

    Args:
        outputs: heatmap (logits), ltrb, offset and embedding: [image][channel][row][column].
        images: Per image the objects, as Things.
        classifier: (weight [n][D], bias [n]).
        num_ids: n.
        s_det: Learned weight.
        s_id: Learned weight.
        loss_id: 'cross_entropy' or 'focal'.
    """
    classes, rows = len(outputs['heatmap'][0]), len(outputs['heatmap'][0][0])
    columns = len(outputs['heatmap'][0][0][0])
    positive = negative = 0.0
    peaks = 0
    sides = offsets = identities = 0.0
    objects = known = 0
    for n, things in enumerate(images):
        heatmap, found = targets_of(things, classes, rows, columns)
        for c in range(classes):
            for y in range(rows):
                for x in range(columns):
                    score = 1 / (1 + math.exp(-outputs['heatmap'][n][c][y][x]))
                    score = min(max(score, 1e-4), 1 - 1e-4)
                    truth = heatmap[c][y][x]
                    if truth == 1:
                        peaks += 1
                        positive += math.log(score) * (1 - score) ** 2
                    else:
                        negative += math.log(1 - score) * score**2 * (1 - truth) ** 4
        for row, column, ltrb, offset, identity in found:
            objects += 1
            read = lambda name: [plane[row][column] for plane in outputs[name][n]]  # noqa: B023, E731
            sides += sum(abs(a - b) for a, b in zip(read('ltrb'), ltrb))
            offsets += sum(abs(a - b) for a, b in zip(read('offset'), offset))
            if identity < 0:
                continue
            known += 1
            vector = read('embedding')
            length = math.sqrt(sum(v * v for v in vector))
            scale = math.sqrt(2) * math.log(num_ids - 1)
            logits = [
                sum(w * v * scale / length for w, v in zip(weights, vector)) + bias
                for weights, bias in zip(*classifier)
            ]
            if loss_id == 'cross_entropy':
                identities += math.log(sum(math.exp(v) for v in logits)) - logits[identity]
            else:
                for i, value in enumerate(logits):
                    score = 1 / (1 + math.exp(-value))
                    if i == identity:
                        identities -= 0.25 * (1 - score) ** 2 * math.log(score)
                    else:
                        identities -= 0.75 * score**2 * math.log(1 - score)
    heat = -(positive + negative) / peaks if peaks else -negative
    ltrb = sides / (4 * objects + 1e-4)
    offset = offsets / (2 * objects + 1e-4)
    identity = identities / known if known else 0.0
    det = heat + 0.1 * ltrb + offset
    total = math.exp(-s_det) * det + s_det
    if known:
        total += math.exp(-s_id) * identity + s_id
    return dict(heat=heat, ltrb=ltrb, offset=offset, identity=identity, total=total / 2)
