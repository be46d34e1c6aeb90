"""Any convolutional network of timm as a Siamese tracker's backbone."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.distill.teachers.weight_files import download, import_timm, without_memory
from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .sot_backbone import SOTBackbone, check_out_indices

STRIDE = 8


@MODELS.register_module()
class SOTTimmBackbone(SOTBackbone):
    """A network of timm, its strides behind 8 turned into dilations; 127 -> 15, 255 -> 31.

    The maps are those of mmkd's other backbones: cell i is centred at pixel 8 i + 7, so that the
    middle cell is the middle of the image, for the template as for the search image. Networks
    that pad their convolutions have cells at 8 i; they get an image of one pixel more on each side,
    and their outermost cells, centred outside the image, are cut away. Networks of patches
    (ConvNeXt) get an image that is cropped to as many patches as cells; their cells are half a
    pixel off, in both images alike.

    Stages are numbered so that the last one that the network has is ``layer4`` (``layer1`` to
    ``layer4`` are attributes, for the unfreeze hook and ``frozen_stages``; what comes before is
    stage 0). Stages behind the last of ``out_indices`` are not kept.

    Args:
        name: timm's name: 'mobilenetv3_large_100', 'resnet18', 'convnext_atto', ... Networks
            that cannot be dilated (transformers, GhostNet, VGG) raise an error.
        out_indices: Numbers of the stages whose maps are returned, e.g. (2, 3, 4); each must have
            stride 8.
        weights: None (random; or ``init_cfg``), 'timm' (ImageNet weights, which timm downloads), or
            a file that timm reads for this network. Loaded when a training starts, in
            ``init_weights()``: neither building nor testing needs them.
        input_norm: 'timm' (what the network was trained with, on RGB), None, or a dict as in
            :class:`SOTBackbone`.
        options: More for ``timm.create_model``, such as ``dict(drop_path_rate=0.1)``.
        kwargs: See :class:`SOTBackbone`.

    Raises:
        MMKDError: timm is missing, has no such network, or cannot dilate it; a stage does not
            exist or is of another stride. When the weights are loaded: they cannot be had.
    """

    def __init__(
        self,
        name: str,
        out_indices: Sequence[int] = (2, 3, 4),
        weights: Optional[str] = None,
        input_norm: Union[str, dict, None] = 'timm',
        options: Optional[Dict[str, Any]] = None,
        **kwargs,
    ):
        self._check_name(name)
        options = dict(options or {})
        with without_memory('SOTTimmBackbone'):
            infos = list(_create(name, options).feature_info.info)
        if input_norm == 'timm':
            input_norm = _norm_of(name)
        elif isinstance(input_norm, str):
            raise MMKDError(f"input_norm is {input_norm!r}; expected 'timm', None or a dict.")
        kwargs.setdefault('init_cfg', [])  # timm has initialised it
        super().__init__(input_norm=input_norm, **kwargs)
        self.name = name
        self.weights = weights
        shift = 5 - len(infos)  # the last one is 4
        strides = {i + shift: info['reduction'] for i, info in enumerate(infos)}
        valid = [number for number, stride in strides.items() if stride == STRIDE]
        self.out_indices = check_out_indices(f'SOTTimmBackbone {name!r}', out_indices, valid)
        levels = tuple(number - shift for number in self.out_indices)
        self.out_channels = tuple(infos[level]['num_chs'] for level in levels)
        self._create_again = dict(name=name, options=options, out_indices=levels)
        self.net = _create(**self._create_again)
        boundaries = [infos[i]['module'] for i in range(levels[-1] + 1)]
        self._layers, unused = _split(self.net, boundaries, shift)
        for parent, child in unused:
            delattr(parent, child)
        self.padded = self._is_padded()
        self._start()

    @staticmethod
    def _check_name(name: str) -> None:
        timm = import_timm('SOTTimmBackbone')
        if not isinstance(name, str) or not timm.is_model(name):
            raise MMKDError(
                f'timm {timm.__version__} has no network {name!r}. '
                f'{nearest(str(name).split(".")[0], timm.list_models())}'
            )

    def _is_padded(self) -> bool:
        """Whether 8 m + 1 pixels are m + 1 cells, or m patches."""
        training = {module: module.training for module in self.net.modules()}
        self.net.eval()
        with torch.no_grad():
            cells = {level.shape[-1] for level in self.net(torch.zeros(1, 3, 65, 65))}
        for module, mode in training.items():
            module.training = mode
        if cells not in ({8}, {9}):
            raise MMKDError(
                f'SOTTimmBackbone: {self.name!r} makes maps of {sorted(cells)} cells of 65 pixels; '
                'expected 9 (padded convolutions) or 8 (patches), the same in all stages.'
            )
        return cells == {9}

    def stages(self) -> Dict[int, Tuple[nn.Module, ...]]:
        modules = dict(self.net.named_modules())
        return {
            number: tuple(modules[name] for name in names) for number, names in self._layers.items()
        }

    def __getattr__(self, name: str):
        if name.startswith('layer') and name[5:].isdigit():
            stages = self.stages() if '_layers' in self.__dict__ else {}
            if int(name[5:]) in stages:
                # Not registered: the modules have their places in `net`.
                return nn.ModuleList(stages[int(name[5:])])
        return super().__getattr__(name)

    def init_weights(self) -> None:
        """Loads ``weights``, or does what ``init_cfg`` says.

        Raises:
            MMKDError: The weights cannot be had.
        """
        if self.weights is None:
            super().init_weights()
            return
        how = dict(pretrained=True)
        if self.weights != 'timm':
            how['pretrained_cfg_overlay'] = dict(file=self.weights)
        net = download(self.name, lambda: _create(**self._create_again, **how))
        state = net.state_dict()
        self.net.load_state_dict({key: state[key] for key in self.net.state_dict()})

    def _fit(self, x: Tensor) -> Tensor:
        """Pads or crops so that the cells lie at 8 i + 7 of the image, one more on each side."""
        sizes = []
        for size in (x.shape[-1], x.shape[-2]):
            cells = (size - 7) // STRIDE
            change = (STRIDE * (cells + 1) + 1 if self.padded else STRIDE * cells) - size
            before = int(change / 2)
            sizes += [before, change - before]
        return F.pad(x, sizes)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Args:
            x: (N, 3, H, W) float, raw BGR values in 0..255.

        Returns:
            A map (N, channels, (H - 7) // 8, (W - 7) // 8) for every stage of ``out_indices``.
        """
        maps = self.net(self._fit(self.input_norm(x)))
        if self.padded:
            maps = [level[..., 1:-1, 1:-1] for level in maps]
        return tuple(maps)


def _create(name: str, options: Dict[str, Any], **more: Any) -> nn.Module:
    timm = import_timm('SOTTimmBackbone')
    more.setdefault('pretrained', False)
    try:
        return timm.create_model(
            name, features_only=True, output_stride=STRIDE, **{**options, **more}
        )
    except (TypeError, AssertionError, ValueError, NotImplementedError) as error:
        raise MMKDError(
            f'timm cannot make {name!r} a backbone of stride {STRIDE} '
            f'({type(error).__name__}: {error}). Networks that it can dilate are, among others, '
            'ResNet, RegNet, ConvNeXt, MobileNetV2 to V4, EfficientNet, MNASNet, LCNet and RepVGG.'
        ) from error


def _norm_of(name: str) -> dict:
    """The normalisation that timm's weights of a network were trained with, in 0..255 units."""
    timm = import_timm('SOTTimmBackbone')
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    mean = (0.485, 0.456, 0.406) if cfg is None else cfg.mean
    std = (0.229, 0.224, 0.225) if cfg is None else cfg.std
    return dict(mean=[255 * v for v in mean], std=[255 * v for v in std], to_rgb=True)


def _split(
    net: nn.Module, boundaries: List[str], shift: int
) -> Tuple[Dict[int, List[str]], List[Tuple[nn.Module, str]]]:
    """Names of the modules of each stage, and those behind the last one as (parent, name).

    timm's feature networks run their children in order, those within a sequence one by one; a
    stage ends with the module that its map comes from.
    """
    units: List[Tuple[str, nn.Module, str]] = []
    for name, child in net.named_children():
        if isinstance(child, nn.Sequential) and any(b.startswith(f'{name}.') for b in boundaries):
            units += [(f'{name}.{key}', child, key) for key, _ in child.named_children()]
        else:
            units.append((name, net, name))
    # A FeatureListNet says 'stages_0' for what the whole network calls 'stages.0'.
    names = [name.replace('.', '_') for name, _, _ in units]
    layers: Dict[int, List[str]] = {}
    start = 0
    for level, boundary in enumerate(boundaries):
        end = names.index(boundary.replace('.', '_')) + 1
        layers.setdefault(level + shift, []).extend(name for name, _, _ in units[start:end])
        start = end
    return layers, [(parent, key) for _, parent, key in units[start:]]
