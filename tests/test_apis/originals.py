"""FairMOT's networks under the original's names, from other people's parts: the reference.

timm's HRNet and DLA have the original's names, and torchvision has a deformable convolution of its
own. None of it is our code.
"""

from __future__ import annotations

from typing import Dict, List

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

BRANCHES = {'hm': 'heatmap', 'wh': 'ltrb', 'reg': 'offset', 'id': 'embedding'}


class Original(nn.Module):
    """The four branches on one map; subclasses make the map."""

    def add_branches(self, channels: int, classes: int, embed: int, width: int) -> None:
        for name, out in (('hm', classes), ('wh', 4), ('id', embed), ('reg', 2)):
            branch = nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, out, 1)
            )
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        x = self.features(x)
        return {ours: getattr(self, name)(x) for name, ours in BRANCHES.items()}


class OriginalHRNet(Original):
    """``pose_hrnet.py``: all four resolutions brought to the finest, side by side."""

    def __init__(self, width: int, classes: int = 1, embed: int = 128, head: int = 256):
        super().__init__()
        whole = timm.create_model(f'hrnet_w{width}')
        for name, module in whole.named_children():
            if name.startswith(('conv', 'bn', 'layer', 'transition', 'stage')):
                self.add_module(name, module)
        self.add_branches(15 * width, classes, embed, head)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        maps = [self.layer1(x)] * 2
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # Only the new, coarsest branch (and all of them at first) passes a transition.
            maps = [
                step(maps[min(i, len(maps) - 1)]) if len(step._modules) else maps[i]
                for i, step in enumerate(transition)
            ]
            maps = stage(maps)
        size = maps[0].shape[-2:]
        return torch.cat([F.interpolate(m, size, mode='bilinear') for m in maps], dim=1)


class Deformable(nn.Module):
    """What the compiled DCNv2 computes, with its names, for 3x3 kernels at stride 1."""

    def __init__(self, inputs: int, outputs: int, **others):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.conv_offset_mask = nn.Conv2d(inputs, 27, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_offset_mask(x)
        return deform_conv2d(
            x, out[:, :18], self.weight, self.bias, padding=1, mask=out[:, 18:].sigmoid()
        )


class Step(nn.Module):
    """A deformable convolution, BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.actf = nn.Sequential(nn.BatchNorm2d(outputs), nn.ReLU())
        self.conv = Deformable(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.actf(self.conv(x))


class Merge(nn.Module):
    """Adds coarser maps to the first, whose channels all of them get."""

    def __init__(self, channels: List[int], factors: List[int]):
        super().__init__()
        out = channels[0]
        for i, (inputs, factor) in enumerate(zip(channels[1:], factors), start=1):
            self.add_module(f'proj_{i}', Step(inputs, out))
            up = nn.ConvTranspose2d(
                out, out, 2 * factor, factor, factor // 2, groups=out, bias=False
            )
            self.add_module(f'up_{i}', up)
            self.add_module(f'node_{i}', Step(out, out))

    def forward(self, maps: List[Tensor]) -> List[Tensor]:
        done = maps[:1]
        for i in range(1, len(maps)):
            raised = self._modules[f'up_{i}'](self._modules[f'proj_{i}'](maps[i]))
            done.append(self._modules[f'node_{i}'](raised + done[-1]))
        return done


class OriginalDLA(Original):
    """``pose_dla_dcn.py``: DLA-34, merged upwards twice."""

    def __init__(self, classes: int = 1, embed: int = 128, head: int = 256):
        super().__init__()
        self.base = timm.create_model('dla34')
        # Two projections that timm leaves out because their output goes nowhere.
        for level, inputs, outputs in (('level3', 64, 128), ('level4', 128, 256)):
            projection = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )
            getattr(self.base, level).add_module('project', projection)
        self.dla_up = nn.Module()
        self.dla_up.ida_0 = Merge([256, 512], [2])
        self.dla_up.ida_1 = Merge([128, 256, 256], [2, 2])
        self.dla_up.ida_2 = Merge([64, 128, 128, 128], [2, 2, 2])
        self.ida_up = Merge([64, 128, 256], [2, 4])
        self.add_branches(64, classes, embed, head)

    def features(self, x: Tensor) -> Tensor:
        x = self.base.base_layer(x)
        levels = []
        for i in range(6):
            x = getattr(self.base, f'level{i}')(x)
            levels.append(x)
        eight = levels[5:]
        merged = []
        for i in range(3):
            eight = getattr(self.dla_up, f'ida_{i}')([levels[4 - i], *eight])
            merged.insert(0, eight[-1])
        return self.ida_up(merged)[-1]


def original(arch: str, seed: int = 0, **head: int) -> Original:
    """A network with weights and statistics that are nothing special."""
    net = OriginalDLA(**head) if arch == 'dla34' else OriginalHRNet(int(arch[-2:]), **head)
    randomise(net, seed)
    return net.eval()


@torch.no_grad()
def randomise(net: nn.Module, seed: int = 0) -> None:
    """Gives every tensor values that no two swapped layers would share."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if not value.is_floating_point():
            value.fill_(9)
        elif value.dim() > 1:
            # An offset of about a cell deforms; 0, the usual start, would hide a wrong order.
            gain = 2.0 if 'conv_offset_mask' in name else 1.0
            fan = 4 if '.up_' in name else value[0].numel()
            value.normal_(0, gain * fan**-0.5, generator=generator)
        elif name.endswith('running_var'):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(('bias', 'running_mean')):
            value.normal_(0, 0.3, generator=generator)
        else:
            value.uniform_(0.3, 0.9, generator=generator)
