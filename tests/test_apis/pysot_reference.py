"""PySOT's SiamRPN++ networks as functions of a state dict in PySOT's own key layout: the reference.

Written from the layout of STVIR/pysot (pysot/models, pysot/utils/anchor.py); it shares no module
with mmkd. Weights are random; names and sizes are those of the published files.
"""

from __future__ import annotations

import math
from typing import Dict, List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RATIOS = (0.33, 0.5, 1, 2, 3)
RESNETS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
MOBILE = (
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 1),
    (6, 32, 3, 2, 1),
    (6, 64, 4, 1, 2),
    (6, 96, 3, 1, 2),
    (6, 160, 3, 1, 4),
    (6, 320, 1, 1, 4),
)


class Weights:
    """Reads a state dict by name; or, while ``make`` is on, invents what is asked for."""

    def __init__(self, state: Dict[str, Tensor] = None, seed: int = 0):
        self.state = {} if state is None else state
        self.make = state is None
        self.generator = torch.Generator().manual_seed(seed)

    def rand(self, *size: int) -> Tensor:
        return torch.randn(*size, generator=self.generator)

    def conv(self, x, name, out, kernel, stride=1, padding=0, dilation=1, groups=1, bias=False):
        if self.make:
            fan = x.shape[1] // groups * kernel**2
            weight = self.rand(out, x.shape[1] // groups, kernel, kernel) * math.sqrt(2 / fan)
            self.state[f'{name}.weight'] = weight
            if bias:
                self.state[f'{name}.bias'] = self.rand(out) * 0.1
        bias = self.state[f'{name}.bias'] if bias else None
        weight = self.state[f'{name}.weight']
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def norm(self, x, name):
        """BatchNorm at rest. Its invented statistics are near those of the first picture."""
        if self.make:
            count = x.shape[1]
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            self.state[f'{name}.weight'] = 1 + 0.2 * self.rand(count)
            self.state[f'{name}.bias'] = 0.2 * self.rand(count)
            self.state[f'{name}.running_mean'] = mean + 0.1 * var.sqrt() * self.rand(count)
            self.state[f'{name}.running_var'] = var * (1 + 0.1 * self.rand(count).abs()) + 1e-3
            self.state[f'{name}.num_batches_tracked'] = torch.tensor(7)
        names = ('running_mean', 'running_var', 'weight', 'bias')
        mean, var, weight, bias = (self.state[f'{name}.{n}'].view(1, -1, 1, 1) for n in names)
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def alexnet(w: Weights, x: Tensor, legacy: bool) -> List[Tensor]:
    places = (0, 4, 8, 11, 14)
    plan = ((96, 11, 2, True), (256, 5, 1, True), (384, 3, 1, False), (384, 3, 1, False))
    for i, (out, kernel, stride, pool) in enumerate((*plan, (256, 3, 1, False))):
        if legacy:
            conv, norm = (f'backbone.features.{places[i] + j}' for j in (0, 1))
        else:
            conv, norm = (f'backbone.layer{i + 1}.{j}' for j in (0, 1))
        x = w.norm(w.conv(x, conv, out, kernel, stride, bias=True), norm)
        if pool:
            x = F.max_pool2d(x, 3, 2)
        if i < 4:
            x = F.relu(x)
    return [x]


def mobilenet(w: Weights, x: Tensor, width: float) -> List[Tensor]:
    x = F.relu6(
        w.norm(w.conv(x, 'backbone.layer0.0', int(32 * width), 3, 2, 0), 'backbone.layer0.1')
    )
    maps, last = [], 1
    for i, (factor, channels, count, stride, dilation) in enumerate(MOBILE, start=1):
        out = int(channels * width)
        for j in range(count):
            name = f'backbone.layer{i}.{j}.conv.'
            step = stride if j == 0 else 1
            spread = dilation if j or dilation == last else max(dilation // 2, 1)
            padding = spread if spread > 1 else 2 - step
            hidden = x.shape[1] * factor
            y = F.relu6(w.norm(w.conv(x, f'{name}0', hidden, 1), f'{name}1'))
            y = w.conv(y, f'{name}3', hidden, 3, step, padding, spread, groups=hidden)
            y = F.relu6(w.norm(y, f'{name}4'))
            y = w.norm(w.conv(y, f'{name}6', out, 1), f'{name}7')
            x = x + y if step == 1 and x.shape[1] == out else y
        last = dilation
        if i in (3, 5, 7):
            maps.append(x)
    return maps


def resnet(w: Weights, x: Tensor, depth: int) -> List[Tensor]:
    x = F.relu(w.norm(w.conv(x, 'backbone.conv1', 64, 7, 2, 0), 'backbone.bn1'))
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    grow = 4 if depth == 50 else 1
    for i, (count, stride, dilation) in enumerate(
        zip(RESNETS[depth], (1, 2, 1, 1), (1, 1, 2, 4)), start=1
    ):
        planes = 32 * 2**i
        for j in range(count):
            name = f'backbone.layer{i}.{j}.'
            step = stride if j == 0 else 1
            down = j == 0 and (step != 1 or x.shape[1] != planes * grow)
            shortcut = x
            if down and step == 1 and dilation == 1:
                shortcut = w.conv(x, f'{name}downsample.0', planes * grow, 1)
            elif down:
                half = dilation // 2 if dilation > 1 else 1
                pad = half if dilation > 1 else 0
                shortcut = w.conv(x, f'{name}downsample.0', planes * grow, 3, step, pad, half)
            if down:
                shortcut = w.norm(shortcut, f'{name}downsample.1')
            spread = dilation // 2 if down and dilation > 1 else dilation
            pad = spread if dilation > 1 else 2 - step
            if depth == 50:
                y = F.relu(w.norm(w.conv(x, f'{name}conv1', planes, 1), f'{name}bn1'))
                y = w.conv(y, f'{name}conv2', planes, 3, step, pad, spread)
                y = F.relu(w.norm(y, f'{name}bn2'))
                y = w.norm(w.conv(y, f'{name}conv3', planes * 4, 1), f'{name}bn3')
            else:
                y = w.conv(x, f'{name}conv1', planes, 3, step, pad, spread)
                y = F.relu(w.norm(y, f'{name}bn1'))
                y = w.conv(y, f'{name}conv2', planes, 3, 1, dilation, dilation)
                y = w.norm(y, f'{name}bn2')
            x = F.relu(y + shortcut)
        if i > 1:
            maps.append(x)
    return maps


def _neck(w: Weights, maps: List[Tensor]) -> List[Tensor]:
    out = []
    for i, x in enumerate(maps):
        name = f'neck.downsample{i + 2}.downsample.'
        x = w.norm(w.conv(x, f'{name}0', 256, 1), f'{name}1')
        if x.shape[3] < 20:
            left = (x.shape[3] - 7) // 2
            x = x[:, :, left : left + 7, left : left + 7]
        out.append(x)
    return out


def _xcorr(w: Weights, name: str, z: Tensor, x: Tensor, out: int) -> Tensor:
    z = F.relu(w.norm(w.conv(z, f'{name}.conv_kernel.0', 256, 3), f'{name}.conv_kernel.1'))
    x = F.relu(w.norm(w.conv(x, f'{name}.conv_search.0', 256, 3), f'{name}.conv_search.1'))
    # One sample and one channel at a time.
    y = torch.stack(
        [
            torch.cat([F.conv2d(xc[None, None], zc[None, None])[0] for xc, zc in zip(xs, zs)])
            for xs, zs in zip(x, z)
        ]
    )
    y = F.relu(w.norm(w.conv(y, f'{name}.head.0', 256, 1), f'{name}.head.1'))
    return w.conv(y, f'{name}.head.3', out, 1, bias=True)


def forward(w: Weights, arch: str, z: Tensor, x: Tensor) -> Tuple[Tensor, Tensor]:
    """PySOT's ``cls`` (N, 10, h, w) and ``loc`` (N, 20, h, w) of templates and search images."""
    if arch.startswith('siamrpn_alex'):
        (z,), (x,) = (alexnet(w, im, legacy='legacy' in arch) for im in (z, x))
        return tuple(_xcorr(w, f'rpn_head.{b}', z, x, n) for b, n in (('cls', 10), ('loc', 20)))
    mobile = 'mobile' in arch
    zs, xs = (
        _neck(w, mobilenet(w, image, 1.4) if mobile else resnet(w, image, 50)) for image in (z, x)
    )
    outs = []
    for branch, count in (('cls', 10), ('loc', 20)):
        levels = [
            _xcorr(w, f'rpn_head.rpn{i}.{branch}', a, b, count)
            for i, (a, b) in enumerate(zip(zs, xs), start=2)
        ]
        shares = torch.full((3,), 1 / 3)
        if not mobile:
            if w.make:
                w.state[f'rpn_head.{branch}_weight'] = w.rand(3)
            shares = w.state[f'rpn_head.{branch}_weight'].softmax(0)
        outs.append(sum(share * level for share, level in zip(shares, levels)))
    return outs[0], outs[1]


def original(arch: str, seed: int = 0) -> Dict[str, Tensor]:
    """A state dict in the layout of a file of PySOT; 'legacy' in ``arch``: the older AlexNet's."""
    weights = Weights(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    z, x = (torch.rand(1, 3, size, size, generator=generator) * 255 for size in (127, 167))
    with torch.no_grad():
        forward(weights, arch, z, x)
    return weights.state


def scores_and_boxes(cls: Tensor, loc: Tensor) -> Tuple[np.ndarray, np.ndarray]:
    """PySOT's scores (A, h, w) and boxes (A, h, w, 4) as centre and size, of one image."""
    _, _, height, width = cls.shape
    back, front = cls[0].double().numpy().reshape(2, 5, height, width)
    scores = 1 / (1 + np.exp(back - front))
    delta = loc[0].double().numpy().reshape(4, 5, height, width)
    boxes = np.zeros((5, height, width, 4))
    for a, ratio in enumerate(RATIOS):
        w = int(math.sqrt(64.0 / ratio))
        w, h = w * 8, int(w * ratio) * 8
        for r in range(height):
            for c in range(width):
                dx, dy, dw, dh = delta[:, a, r, c]
                cx, cy = (c - width // 2) * 8, (r - height // 2) * 8
                boxes[a, r, c] = dx * w + cx, dy * h + cy, math.exp(dw) * w, math.exp(dh) * h
    return scores, boxes
