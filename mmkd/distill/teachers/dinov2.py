"""DINOv2 (Oquab et al., arXiv 2304.07193) and DINOv2 with registers (arXiv 2309.16588)."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Sequence, Tuple, Union

from torch import nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .dinov2_weights import load_state, pretrain_grid
from .intermediates import IntermediatesTeacher, parse_dict_arch
from .weight_files import fill, import_timm, without_memory

PATCH = 14
REGISTERS = 4


class Arch(NamedTuple):
    """The size of a DINOv2."""

    embed_dim: int
    depth: int
    num_heads: int
    swiglu: bool = False
    mlp_ratio: float = 4.0
    grid: int = 37


ARCHS: Dict[str, Arch] = {
    'small': Arch(384, 12, 6),
    'base': Arch(768, 12, 12),
    'large': Arch(1024, 24, 16),
    'giant': Arch(1536, 40, 24, swiglu=True),
}


@MODELS.register_module()
class DINOv2Teacher(IntermediatesTeacher):
    """A DINOv2 vision transformer, patch 14, weights from timm's hub or from a file.

    Features: ``'last'``, the last block's tokens after the final norm, and ``'block_<i>'``, the
    i-th block's (from 0) without it, each (N, embed_dim, h // 14, w // 14); class and register
    tokens are left out. Blocks after the deepest one that is read are thrown away.

    The picture is resized to multiples of 14, height and width each in its place (the code
    published with arXiv 2407.18288 swapped them), and normalised as ImageNet.

    Args:
        arch: 'small', 'base', 'large', 'giant', each also as '<size>_reg', with registers; or a
            dict with ``embed_dim``, ``depth``, ``num_heads`` and optionally ``swiglu``,
            ``mlp_ratio`` and ``grid`` (patches per side that it was pretrained with).
        weights: 'timm' (downloaded by name); or a file (.pth, .pt, .bin, .safetensors), or a
            folder with one, in Meta's, timm's or Hugging Face's layout; or 'random', which is for
            tests and is announced.
        registers: Whether it has registers; the arch's name says so unless given.
        blocks: Features that it can be asked for, ``'last'`` or numbers of blocks. None: all.
        norm: Whether the final norm is applied to 'last'.
        kwargs: See :class:`Teacher`.

    Raises:
        MMKDError: ``weights`` was not given, or an option does not exist. When it is loaded: the
            weights' file is missing, unreadable, not a DINOv2, or of another size.
    """

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        weights: Optional[str] = None,
        registers: Optional[bool] = None,
        blocks: Optional[Sequence[Union[str, int]]] = None,
        norm: bool = True,
        **kwargs,
    ):
        super().__init__(weights, norm, patch=PATCH, **kwargs)
        self.arch_name, self.arch, self.registers = _parse_arch(arch, registers)
        if self.weights == 'timm' and self.arch_name == 'custom':
            raise MMKDError("weights='timm' needs an arch that timm has by name, not a dict.")
        depth = self.arch.depth
        self._set_features('block', [self.arch.embed_dim] * depth, [PATCH] * depth, only=blocks)

    @property
    def timm_name(self) -> str:
        """What timm calls this architecture."""
        reg = f'reg{REGISTERS}_' if self.registers else ''
        return f'vit_{self.arch_name}_patch14_{reg}dinov2.lvd142m'

    def describe(self) -> str:
        reg = ' with registers' if self.registers else ''
        return f'DINOv2 {self.arch_name}{reg}, {self._weights_told()}'

    def _random(self) -> nn.Module:
        return self._network(self.arch.grid)

    def _pretrained(self) -> nn.Module:
        state = load_state(self)
        with without_memory('DINOv2Teacher'):
            net = self._network(pretrain_grid(state, self.registers))
        return fill(net, state)

    def _network(self, grid: int) -> nn.Module:
        import_timm('DINOv2Teacher')
        from timm.layers import SwiGLUPacked
        from timm.models.vision_transformer import VisionTransformer

        # Packed, both halves of SwiGLU's first layer stand in one matrix.
        mlp = (
            dict(mlp_ratio=2.66667 * 2, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU)
            if self.arch.swiglu
            else dict(mlp_ratio=self.arch.mlp_ratio)
        )
        return VisionTransformer(
            img_size=grid * PATCH,
            patch_size=PATCH,
            embed_dim=self.arch.embed_dim,
            depth=self.arch.depth,
            num_heads=self.arch.num_heads,
            init_values=1e-5,
            num_classes=0,
            reg_tokens=REGISTERS if self.registers else 0,
            no_embed_class=self.registers,
            dynamic_img_size=True,
            **mlp,
        )


def _parse_arch(arch: Union[str, dict], registers: Optional[bool]) -> Tuple[str, Arch, bool]:
    if isinstance(arch, dict):
        return 'custom', parse_dict_arch(arch, [Arch]), bool(registers)
    names = [name + suffix for name in ARCHS for suffix in ('', '_reg')]
    if arch not in names:
        raise MMKDError(f'There is no DINOv2 arch {arch!r}. {nearest(arch, names)}')
    name = arch.split('_')[0]
    if registers is None:
        registers = arch.endswith('_reg')
    elif not registers and arch.endswith('_reg'):
        raise MMKDError(f'arch={arch!r} has registers, but registers=False was given.')
    return name, ARCHS[name], bool(registers)
