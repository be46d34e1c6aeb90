"""DINOv2 (Oquab et al., arXiv 2304.07193) and DINOv2 with registers (arXiv 2309.16588)."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .dinov2_weights import pretrain_grid, read_weights
from .teacher import Teacher

PATCH = 14
REGISTERS = 4
# The same random network on every rank and after every resume.
RANDOM_SEED = 0


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
class DINOv2Teacher(Teacher):
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
        input_size: See :class:`Teacher`.
        dtype: See :class:`Teacher`.

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
        input_size: Union[None, float, Tuple[int, int]] = None,
        dtype: Optional[str] = None,
    ):
        super().__init__(patch=PATCH, input_size=input_size, dtype=dtype)
        if weights is None:
            raise MMKDError(
                "DINOv2Teacher needs weights: 'timm' to download them, the path of a file in "
                "Meta's, timm's or Hugging Face's layout, or 'random' if a random teacher is "
                'really meant.'
            )
        self.arch_name, self.arch, self.registers = _parse_arch(arch, registers)
        self.weights = str(weights)
        if self.weights == 'timm' and self.arch_name == 'custom':
            raise MMKDError("weights='timm' needs an arch that timm has by name, not a dict.")
        self.is_random = self.weights == 'random'
        self.norm = norm
        names = _feature_names(blocks, self.arch.depth)
        self.channels = dict.fromkeys(names, self.arch.embed_dim)
        self.strides = dict.fromkeys(names, PATCH)
        if blocks is not None:
            self.request(names)

    @property
    def timm_name(self) -> str:
        """What timm calls this architecture."""
        reg = f'reg{REGISTERS}_' if self.registers else ''
        return f'vit_{self.arch_name}_patch14_{reg}dinov2.lvd142m'

    def describe(self) -> str:
        reg = ' with registers' if self.registers else ''
        weights = 'RANDOM weights' if self.is_random else f'weights {self.weights!r}'
        return f'DINOv2 {self.arch_name}{reg}, {weights}'

    def build(self) -> nn.Module:
        if self.is_random:
            print_log(
                'The DINOv2 teacher has RANDOM weights, because its config says '
                "weights='random'. Nothing that DINOv2 learned can reach the student.",
                logger='current',
                level=30,
            )
            torch.manual_seed(RANDOM_SEED)
            net = self._network(self.arch.grid)
        else:
            state = read_weights(self)
            with torch.device('meta'):
                net = self._network(pretrain_grid(state, self.registers))
            # Every tensor of the network is in `state`, so that nothing stays uninitialised.
            net.to_empty(device='cpu').load_state_dict(state, strict=True)
        deepest = max((self._block(name) for name in self._names()), default=-1)
        if deepest + 1 < self.arch.depth:
            net.blocks = net.blocks[: deepest + 1]
            net.norm = nn.Identity()
        return net

    def _network(self, grid: int) -> nn.Module:
        try:
            from timm.layers import SwiGLUPacked
            from timm.models.vision_transformer import VisionTransformer
        except ImportError as error:
            raise MMKDError('DINOv2Teacher needs timm: pip install timm.') from error
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

    def extract(self, x: Tensor) -> Dict[str, Tensor]:
        names = self._names()
        wanted = sorted({self._block(name) for name in names})
        tokens = self.net.forward_intermediates(
            x, indices=wanted, norm=False, output_fmt='NLC', intermediates_only=True
        )
        by_block = dict(zip(wanted, tokens))
        n, _, height, width = x.shape
        features = {}
        for name in names:
            value = by_block[self._block(name)]
            if name == 'last' and self.norm:
                value = self.net.norm(value)
            value = value.reshape(n, height // PATCH, width // PATCH, -1)
            features[name] = value.permute(0, 3, 1, 2)
        return features

    def _names(self) -> Tuple[str, ...]:
        return self._requested or ('last',)

    def _block(self, name: str) -> int:
        return self.arch.depth - 1 if name == 'last' else int(name.split('_')[1])

    def _preprocessing(self) -> Dict[str, Any]:
        return dict(super()._preprocessing(), norm=self.norm)


def _parse_arch(arch: Union[str, dict], registers: Optional[bool]) -> Tuple[str, Arch, bool]:
    if isinstance(arch, dict):
        unknown = set(arch) - set(Arch._fields)
        if unknown:
            name = sorted(unknown)[0]
            raise MMKDError(f'arch has no {name!r}. {nearest(name, Arch._fields)}')
        try:
            return 'custom', Arch(**arch), bool(registers)
        except TypeError as error:
            raise MMKDError(
                f'arch=dict(...) needs embed_dim, depth and num_heads, but got {dict(arch)}.'
            ) from error
    names = [name + suffix for name in ARCHS for suffix in ('', '_reg')]
    if arch not in names:
        raise MMKDError(f'There is no DINOv2 arch {arch!r}. {nearest(arch, names)}')
    name = arch.split('_')[0]
    if registers is None:
        registers = arch.endswith('_reg')
    elif not registers and arch.endswith('_reg'):
        raise MMKDError(f'arch={arch!r} has registers, but registers=False was given.')
    return name, ARCHS[name], bool(registers)


def _feature_names(blocks: Optional[Sequence[Union[str, int]]], depth: int) -> Tuple[str, ...]:
    everything = ('last', *(f'block_{i}' for i in range(depth)))
    if blocks is None:
        return everything
    if isinstance(blocks, (str, int)):
        blocks = (blocks,)
    names = tuple(f'block_{b}' if isinstance(b, int) else b for b in blocks)
    for name in names:
        if name not in everything:
            raise MMKDError(
                f'This DINOv2 has {depth} blocks, 0 to {depth - 1}, and no {name!r}. '
                f'{nearest(name, everything)}'
            )
    if not names:
        raise MMKDError("blocks=() leaves the teacher nothing to give; blocks=('last',) is usual.")
    return names
