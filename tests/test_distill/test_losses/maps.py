"""Small maps for the losses, and the places of them that count, one by one."""

import math

import torch

MASKS = (None, 'bool', 'weights')


def maps(n=2, c=3, h=2, w=3, seed=0, teacher_channels=None):
    """Student and teacher in float64, both with a gradient."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (n, c, h, w), (n, teacher_channels or c, h, w)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]


def make_mask(kind, n=2, h=2, w=3):
    """None, bool or weights; every image keeps a place and loses one."""
    if kind is None:
        return None
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(n, 1, h, w, generator=generator, dtype=torch.float64) * 3 + 0.1
    weights[:, 0, 0, 1] = 0
    weights[0, 0, h - 1] = 0
    return weights > 0 if kind == 'bool' else weights


def places(mask, n, like):
    """The (row, column, weight) of image ``n`` that count."""
    h, w = like.shape[2:]
    every = [(i, j) for i in range(h) for j in range(w)]
    weighed = [(i, j, 1.0 if mask is None else float(mask[n, 0, i, j])) for i, j in every]
    return [place for place in weighed if place[2] > 0]


def softmax(logits, weights=None):
    """Of a list of numbers, each as often as its weight says; they sum to 1."""
    weights = weights or [1.0] * len(logits)
    sizes = [math.exp(x) * w for x, w in zip(logits, weights)]
    return [size / sum(sizes) for size in sizes]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q))


def pearson(a, b, weights=None):
    weights = weights or [1.0] * len(a)
    total = sum(weights)
    mean_a, mean_b = (sum(x * w for x, w in zip(v, weights)) / total for v in (a, b))
    cross = sum(w * (x - mean_a) * (y - mean_b) for x, y, w in zip(a, b, weights))
    squares = [
        sum(w * (x - mean) ** 2 for x, w in zip(v, weights))
        for v, mean in ((a, mean_a), (b, mean_b))
    ]
    return cross / math.sqrt(squares[0] * squares[1])
