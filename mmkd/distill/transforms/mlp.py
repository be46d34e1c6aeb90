"""A small network that sees one place at a time."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .resize import Cover, as_given, as_map, check_channels, resize_to_grid

ACTIVATIONS = {'gelu': nn.GELU, 'relu': nn.ReLU, 'silu': nn.SiLU}
NORMS = {'layer': nn.LayerNorm, 'batch': nn.BatchNorm1d}


@MODELS.register_module()
class MLPTransform(BaseModule):
    """Resizes a map and sends each place through the same multi-layer perceptron.

    ``depth`` times linear + norm + activation, then a linear layer. No place sees its neighbours,
    so that what the student must know of them it has to hold itself. Such heads are usual where a
    student meets several teachers (arXiv 2312.06709, arXiv 2408.05088).

    Args:
        in_channels: Channels that come in; the distiller fills them in.
        out_channels: Channels wanted; the distiller fills them in.
        hidden_ratio: Channels within, as a multiple of ``in_channels``.
        depth: How many hidden layers; with 0 it is a linear map, FeatureTransform's 'single'.
        norm: 'layer', over the channels of a place; 'batch'; or None.
        activation: 'gelu', 'relu' or 'silu'.
        antialias: Whether shrinking averages over what it skips.
        init_cfg: mmengine's initialisation config; torch's own by default.

    Raises:
        MMKDError: Channels that are missing, or an option that does not exist.
    """

    def __init__(
        self,
        in_channels: Optional[int] = None,
        out_channels: Optional[int] = None,
        hidden_ratio: float = 2.0,
        depth: int = 1,
        norm: Optional[str] = 'layer',
        activation: str = 'gelu',
        antialias: bool = False,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(init_cfg)
        check_channels('MLPTransform', in_channels, out_channels)
        if norm is not None and norm not in NORMS:
            raise MMKDError(f'MLPTransform has no norm={norm!r}. {nearest(norm, NORMS)}')
        if activation not in ACTIVATIONS:
            raise MMKDError(
                f'MLPTransform has no activation={activation!r}. {nearest(activation, ACTIVATIONS)}'
            )
        _check_numbers(hidden_ratio, depth)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.antialias = antialias
        hidden = max(round(hidden_ratio * in_channels), 1)
        layers: List[nn.Module] = []
        channels = in_channels
        for _ in range(depth):
            layers.append(nn.Linear(channels, hidden))
            if norm is not None:
                layers.append(NORMS[norm](hidden))
            layers.append(ACTIVATIONS[activation]())
            channels = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(channels, out_channels))

    def forward(self, x: Tensor, size: Tuple[int, int], cover: Cover = (1.0, 1.0)) -> Tensor:
        """Args:
            x: (N, in_channels, H, W), or (N, in_channels) for a grid of (1, 1).
            size: The grid (h, w) that is wanted.
            cover: How much of what ``x`` covers that grid covers; see :func:`.resize_to_grid`.

        Returns:
            (N, out_channels, h, w), or (N, out_channels).
        """
        out = resize_to_grid(as_map(x, size, 'MLPTransform'), size, cover, self.antialias)
        n, _, h, w = out.shape
        # One row per place: BatchNorm1d, too, then counts every place of the batch.
        rows = self.layers(out.permute(0, 2, 3, 1).reshape(n * h * w, self.in_channels))
        return as_given(rows.reshape(n, h, w, self.out_channels).permute(0, 3, 1, 2), x)


def _check_numbers(hidden_ratio: Any, depth: Any) -> None:
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 0:
        raise MMKDError(f'MLPTransform takes depth= 0, 1, 2, ..., but got {depth!r}.')
    if not isinstance(hidden_ratio, (int, float)) or not hidden_ratio > 0:
        raise MMKDError(f'MLPTransform takes a hidden_ratio above 0, but got {hidden_ratio!r}.')
