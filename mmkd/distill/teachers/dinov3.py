"""DINOv3 (Simeoni et al., arXiv 2508.10104), vision transformers and ConvNeXts."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple, Union

from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .dinov3_weights import load_state
from .intermediates import IntermediatesTeacher, parse_dict_arch
from .teacher import IMAGENET_MEAN, IMAGENET_STD
from .weight_files import fill, import_timm, without_memory

PATCH = 16
# Of ConvNeXt's stages.
_STRIDES = (4, 8, 16, 32)
# Sizes of pictures whose rotary embedding is kept; multi-scale training uses a dozen.
_KEPT_GRIDS = 32


class ViTArch(NamedTuple):
    """The size of a DINOv3 vision transformer."""

    embed_dim: int
    depth: int
    num_heads: int
    swiglu: bool = False
    mlp_ratio: float = 4.0


class ConvNeXtArch(NamedTuple):
    """The size of a DINOv3 ConvNeXt."""

    depths: Tuple[int, ...]
    dims: Tuple[int, ...]


# Width of the MLP: what it really is, as timm counts; Meta's ratio of SwiGLU is 3/2 of it.
ARCHS: Dict[str, Union[ViTArch, ConvNeXtArch]] = {
    'small': ViTArch(384, 12, 6),
    'small_plus': ViTArch(384, 12, 6, swiglu=True),
    'base': ViTArch(768, 12, 12),
    'large': ViTArch(1024, 24, 16),
    'huge_plus': ViTArch(1280, 32, 20, swiglu=True),
    '7b': ViTArch(4096, 40, 32, swiglu=True, mlp_ratio=2.0),
    'convnext_tiny': ConvNeXtArch((3, 3, 9, 3), (96, 192, 384, 768)),
    'convnext_small': ConvNeXtArch((3, 3, 27, 3), (96, 192, 384, 768)),
    'convnext_base': ConvNeXtArch((3, 3, 27, 3), (128, 256, 512, 1024)),
    'convnext_large': ConvNeXtArch((3, 3, 27, 3), (192, 384, 768, 1536)),
}
# What each was pretrained on, and how its pictures are normalised.
DATA: Dict[str, Tuple[Sequence[float], Sequence[float]]] = {
    'lvd1689m': (IMAGENET_MEAN, IMAGENET_STD),
    'sat493m': ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
}


@MODELS.register_module()
class DINOv3Teacher(IntermediatesTeacher):
    """A DINOv3: a vision transformer of patch 16 with rotary positions, or a ConvNeXt.

    The weights are Meta's, under the DINOv3 License
    (https://ai.meta.com/resources/models-and-libraries/dinov3-license/), which is no open-source
    licence: read it before you train with them or pass on what you trained. Meta's downloads, and
    its own on Hugging Face, are gated, one has to agree first; timm's copies are under the same
    licence.

    Features: ``'last'``, the last block's tokens or the last stage's map after the final norm;
    ``'block_<i>'`` of a transformer, each (N, embed_dim, h // 16, w // 16), or ``'stage_<i>'`` of
    a ConvNeXt (strides 4, 8, 16, 32), without it. Class and register tokens are left out. What
    lies behind the deepest that is read is thrown away.

    Args:
        arch: 'small', 'small_plus', 'base', 'large', 'huge_plus', '7b', 'convnext_tiny',
            'convnext_small', 'convnext_base', 'convnext_large'; or a dict, with ``embed_dim``,
            ``depth``, ``num_heads`` and optionally ``swiglu`` and ``mlp_ratio`` for a
            transformer, with ``depths`` and ``dims`` for a ConvNeXt.
        weights: A file (.pth, .pt, .bin, .safetensors), or a folder with one or with Hugging
            Face's index of several, in Meta's, timm's or Hugging Face's layout; 'timm'
            (downloaded by name); or 'random', which is for tests and is announced.
        data: What it was pretrained on, 'lvd1689m' (pictures of the web) or 'sat493m' (satellite;
            'large' and '7b'), which are normalised differently.
        blocks: Features that it can be asked for, ``'last'`` or numbers of blocks or stages.
            None: all.
        norm: Whether the final norm is applied to 'last'.
        kwargs: See :class:`Teacher`.

    Raises:
        MMKDError: ``weights`` was not given, or an option does not exist. When it is loaded: the
            weights' file is missing, unreadable, not a DINOv3, or of another size; or this
            environment's timm is older than DINOv3.
    """

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        weights: Optional[str] = None,
        data: str = 'lvd1689m',
        blocks: Optional[Sequence[Union[str, int]]] = None,
        norm: bool = True,
        **kwargs,
    ):
        if data not in DATA:
            raise MMKDError(f'There is no DINOv3 for data={data!r}. {nearest(data, DATA)}')
        mean, std = DATA[data]
        name, size = _parse_arch(arch)
        patch = PATCH if isinstance(size, ViTArch) else _STRIDES[len(size.dims) - 1]
        super().__init__(weights, norm, **{'mean': mean, 'std': std, **kwargs}, patch=patch)
        self.arch_name, self.arch, self.data = name, size, data
        if self.weights == 'timm' and name == 'custom':
            raise MMKDError("weights='timm' needs an arch that timm has by name, not a dict.")
        for other in DATA:
            if other != data and other in self.weights.lower():
                raise MMKDError(
                    f'The weights {self.weights!r} are of {other}, which is normalised '
                    f'differently: say data={other!r}.'
                )
        if isinstance(size, ViTArch):
            self._set_features(
                'block', [size.embed_dim] * size.depth, [PATCH] * size.depth, only=blocks
            )
        else:
            self._set_features('stage', size.dims, _STRIDES[: len(size.dims)], only=blocks)

    @property
    def timm_name(self) -> str:
        """What timm calls this architecture and these weights."""
        if isinstance(self.arch, ConvNeXtArch):
            return f'{self.arch_name}.dinov3_{self.data}'
        return f'vit_{self.arch_name}_patch16_dinov3.{self.data}'

    def describe(self) -> str:
        return f'DINOv3 {self.arch_name} ({self.data}), {self._weights_told()}'

    def _random(self) -> nn.Module:
        return self._finish(self._network())

    def _pretrained(self) -> nn.Module:
        state, qkv_bias = load_state(self)
        with without_memory('DINOv3Teacher'):
            net = self._network(qkv_bias)
        return self._finish(fill(net, state))

    def _network(self, qkv_bias: bool = False) -> nn.Module:
        """timm's network.

        Args:
            qkv_bias: Whether queries and values have a bias. Some of Meta's files have it; in
                others it is 0 everywhere, and not kept.
        """
        timm = timm_with_dinov3()
        size = self.arch
        if isinstance(size, ConvNeXtArch):
            return timm.create_model(
                'convnext_tiny', num_classes=0, depths=tuple(size.depths), dims=tuple(size.dims)
            )
        return timm.create_model(
            'vit_small_patch16_dinov3',
            num_classes=0,
            embed_dim=size.embed_dim,
            depth=size.depth,
            num_heads=size.num_heads,
            swiglu_mlp=size.swiglu,
            swiglu_align_to=8 if size.swiglu else 0,
            mlp_ratio=size.mlp_ratio,
            qkv_bias=qkv_bias,
        )

    def _finish(self, net: nn.Module) -> nn.Module:
        if isinstance(self.arch, ViTArch):
            net.rope = RememberedRope(net.rope)
        return net

    def _final(self, x: Tensor) -> Tensor:
        # timm has a ConvNeXt's final norm in the classifier, behind the pooling.
        return self.net.head.norm(x) if isinstance(self.arch, ConvNeXtArch) else x


class RememberedRope(nn.Module):
    """timm's rotary embedding, which makes its grid on the CPU each time, once per grid.

    A copy to the device in every step would make the host wait for the device.

    Args:
        rope: timm's.
    """

    def __init__(self, rope: nn.Module):
        super().__init__()
        self.rope = rope
        self._made: Dict[Tuple[int, ...], Tensor] = {}

    def get_embed(self, shape: Sequence[int]) -> Tensor:
        """The embedding of a grid of (h, w) patches, (h * w, 2 * width of a head)."""
        key = tuple(shape)
        if key not in self._made:
            if len(self._made) >= _KEPT_GRIDS:
                self._made.clear()
            self._made[key] = self.rope.get_embed(shape=list(key))
        return self._made[key]

    def _apply(self, fn, *args, **kwargs):
        self._made.clear()
        return super()._apply(fn, *args, **kwargs)

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self.__dict__, _made={})


def timm_with_dinov3() -> ModuleType:
    """Raises:
    MMKDError: There is no timm, or none with DINOv3.
    """
    timm = import_timm('DINOv3Teacher')
    if not timm.is_model('vit_small_patch16_dinov3'):
        raise MMKDError(
            f'timm {timm.__version__} of this environment has no DINOv3 yet: pip install '
            '"timm>=1.0.20".'
        )
    return timm


def _parse_arch(arch: Union[str, dict]) -> Tuple[str, Union[ViTArch, ConvNeXtArch]]:
    if isinstance(arch, dict):
        size = parse_dict_arch(arch, [ViTArch, ConvNeXtArch])
        if isinstance(size, ConvNeXtArch) and len(size.depths) != len(size.dims):
            raise MMKDError(f'depths and dims must be of one length, but got {arch}.')
        return 'custom', size
    if arch not in ARCHS:
        raise MMKDError(f'There is no DINOv3 arch {arch!r}. {nearest(arch, ARCHS)}')
    return arch, ARCHS[arch]
