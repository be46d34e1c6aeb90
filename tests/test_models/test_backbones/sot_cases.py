"""Small versions of every backbone of a Siamese tracker."""

from __future__ import annotations

import torch
from torch import nn

from mmkd.models.backbones import SOTAlexNet, SOTMobileNetV2, SOTResNet, SOTTimmBackbone

CASES = {
    'alexnet': lambda **k: SOTAlexNet(width_mult=1 / 16, **k),
    'mobilenetv2': lambda **k: SOTMobileNetV2(width_mult=0.25, **k),
    'mobilenetv2-imagenet': lambda **k: SOTMobileNetV2(0.25, style='imagenet', **k),
    'r18': lambda **k: SOTResNet(18, base_channels=4, **k),
    'r50': lambda **k: SOTResNet(50, base_channels=4, **k),
    'timm-lcnet': lambda **k: SOTTimmBackbone('lcnet_035', **k),
    'timm-mnasnet': lambda **k: SOTTimmBackbone('mnasnet_small', **k),
    # TensorFlow's padding, which depends on the size.
    'timm-same': lambda **k: SOTTimmBackbone('tf_mobilenetv3_small_minimal_100', **k),
}


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """In test mode, with statistics and biases that no symmetry and no zero hides."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.weight, 0.5),
                (module.bias, -0.5),
                (module.running_var, 0.5),
            ):
                tensor.data = torch.rand(tensor.shape, generator=generator) + low
    net.eval()  # mmdet's returns nothing
    return net
