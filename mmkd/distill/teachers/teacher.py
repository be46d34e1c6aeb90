"""What every teacher is: frozen, sure of its weights, and responsible for its own input."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

DTYPES = {
    'fp32': torch.float32,
    'float32': torch.float32,
    'fp16': torch.float16,
    'float16': torch.float16,
    'bf16': torch.bfloat16,
    'bfloat16': torch.bfloat16,
}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Teacher(nn.Module):
    """A frozen network that turns pictures into named feature maps.

    Making one is cheap: it knows its features' channels and strides from its architecture, but
    has no network yet. :meth:`load` builds it and reads its weights, at the latest when it first
    runs. It stays in eval mode whatever is asked of it, and runs without gradients.

    A subclass sets ``channels`` and ``strides`` and writes :meth:`build` and :meth:`extract`.

    Args:
        mean: What its weights expect to be subtracted, per RGB channel, of images in 0..1.
        std: What they expect to be divided by.
        patch: Its input's height and width are made multiples of this.
        input_size: (h, w) of its input in pixels, or a factor on the student's input; both are
            brought down to multiples of ``patch``. None: the student's own size.
        dtype: 'fp32', 'fp16' or 'bf16': its weights are kept so, it computes in that type, and
            neither ``.half()`` nor autocast changes it. None: it is cast with the student and
            honours autocast, as any module does.

    Attributes:
        channels: Feature name to channels, of every feature it can give.
        strides: Feature name to pixels of the teacher's input per cell.
        is_random: Whether its weights are random, which only happens when asked for by name.
    """

    channels: Dict[str, int]
    strides: Dict[str, int]
    is_random = False

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        patch: int = 1,
        input_size: Union[None, float, Tuple[int, int]] = None,
        dtype: Optional[str] = None,
    ):
        super().__init__()
        if dtype is not None and dtype not in DTYPES:
            raise MMKDError(
                f'{type(self).__name__} has no dtype={dtype!r}. {nearest(dtype, DTYPES)}'
            )
        self.patch = patch
        self.input_size = _check_input_size(input_size, type(self).__name__)
        self.dtype = None if dtype is None else DTYPES[dtype]
        self.net: Optional[nn.Module] = None
        # Of images in 0..255, so that one subtraction and one division do it all.
        self.register_buffer('mean', 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._requested: Tuple[str, ...] = ()
        self.eval()

    # What a subclass writes.

    def build(self) -> nn.Module:
        """Makes the network with its weights, on the CPU.

        Raises:
            MMKDError: The weights are missing, or are not this network's.
        """
        raise NotImplementedError

    def extract(self, x: Tensor) -> Dict[str, Tensor]:
        """Runs the network.

        Args:
            x: (N, 3, h, w), normalised, both sides multiples of ``patch``.

        Returns:
            Name to map, for at least the requested features.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """One line for logs: which network, which weights."""
        return type(self).__name__

    # What the distiller uses.

    def check(self, names: Sequence[str]) -> None:
        """Raises:
        MMKDError: The teacher has no such feature.
        """
        for name in names:
            if name not in self.channels:
                raise MMKDError(
                    f'{type(self).__name__} has no feature {name!r}. {nearest(name, self.channels)}'
                )

    def request(self, names: Sequence[str]) -> None:
        """Says which features will be read; others need not be computed.

        Raises:
            MMKDError: The teacher has no such feature, or was loaded without it.
        """
        self.check(names)
        if self.loaded and set(names) - set(self._requested):
            raise MMKDError('Features must be requested before the teacher is loaded.')
        self._requested = tuple(dict.fromkeys((*self._requested, *names)))

    @property
    def loaded(self) -> bool:
        """Whether the network is there, with its weights."""
        return self.net is not None

    def load(
        self, device: Optional[torch.device] = None, dtype: Optional[torch.dtype] = None
    ) -> Teacher:
        """Builds the network, once; it leaves the random number generator as it was.

        Args:
            device: Where to.
            dtype: The student's type, taken over unless the teacher has its own.
        """
        if not self.loaded:
            with torch.random.fork_rng(devices=[]):
                net = self.build()
            self.net = net.requires_grad_(False).eval()
            self.net.to(dtype=self.dtype or dtype)
        return self.to(device) if device is not None else self

    @torch.no_grad()
    def forward(self, images: Tensor, data_samples: Optional[Sequence] = None) -> Dict[str, Tensor]:
        """Args:
            images: (N, 3, H, W) float, RGB, 0..255.
            data_samples: Not read here; a teacher that looks things up does.

        Returns:
            Feature name to (N, C, h, w).

        Raises:
            MMKDError: Its weights cannot be loaded: a teacher never runs without.
        """
        if not self.loaded:
            self.load(images.device)
        with self._precision(images.device):
            return self.extract(self.preprocess(images))

    def target_size(self, size: Tuple[int, int]) -> Tuple[int, int]:
        """(h, w) of the teacher's input for a student's input of (H, W) pixels."""
        if isinstance(self.input_size, tuple):
            size = self.input_size
        elif self.input_size is not None:
            size = tuple(round(side * self.input_size) for side in size)
        return tuple(max(side // self.patch, 1) * self.patch for side in size)

    def preprocess(self, images: Tensor) -> Tensor:
        """Resizes and normalises on the images' device.

        Args:
            images: (N, 3, H, W) float, RGB, 0..255.

        Returns:
            (N, 3, h, w) in the network's type.
        """
        size = tuple(images.shape[2:])
        wanted = self.target_size(size)
        if wanted != size:
            shrinks = wanted[0] < size[0] or wanted[1] < size[1]
            images = F.interpolate(
                images, size=wanted, mode='bilinear', align_corners=False, antialias=shrinks
            )
        x = (images - self.mean) / self.std
        return x.to(next(self.net.parameters()).dtype)

    def fingerprint(self) -> str:
        """SHA-256 over the weights as they are used and over the preprocessing, in hex."""
        if not self.loaded:
            raise MMKDError(f'{type(self).__name__} has no weights yet to take a fingerprint of.')
        digest = hashlib.sha256(json.dumps(self._preprocessing(), sort_keys=True).encode())
        for name, tensor in sorted(self.net.state_dict().items()):
            digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
        return digest.hexdigest()

    def _preprocessing(self) -> Dict[str, Any]:
        return {
            'mean': self.mean.flatten().tolist(),
            'std': self.std.flatten().tolist(),
            'patch': self.patch,
            'input_size': self.input_size,
        }

    def _precision(self, device: torch.device):
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(device.type, enabled=False)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in eval mode: dropout and batch statistics would make it another teacher."""
        return super().train(False)

    def _apply(self, fn, *args, **kwargs):
        """Follows devices always, types only if it has none of its own."""

        def follow(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if self.dtype is not None and moved.is_floating_point():
                # Through half precision and back would lose bits: move the original.
                return tensor if moved.device == tensor.device else tensor.to(moved.device)
            return moved

        mean, std = self.mean, self.std
        super()._apply(follow, *args, **kwargs)
        # Pixels are normalised in float32 whatever the network computes in.
        self.mean, self.std = mean.to(self.mean.device), std.to(self.std.device)
        return self


def _check_input_size(value: Any, owner: str) -> Union[None, float, Tuple[int, int]]:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    if (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(side, int) and side > 0 for side in value)
    ):
        return tuple(value)
    raise MMKDError(
        f'{owner} takes input_size=(height, width) in pixels, or one factor on the size of the '
        f"student's input, but got {value!r}."
    )
