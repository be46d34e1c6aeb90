"""What every teacher is: frozen, sure of its weights, and responsible for its own input."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

from . import picture
from .fingerprint import Fingerprint, identify
from .precision import AUTO, DTYPES, check_dtype, resolve_dtype
from .runtime import Pending, Runtime

__all__ = ['DTYPES', 'IMAGENET_MEAN', 'IMAGENET_STD', 'Teacher']

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Teacher(nn.Module):
    """A frozen network that turns pictures into named features.

    Making one is cheap: it knows its features' channels and strides from its architecture, but
    has no network yet. :meth:`load` builds it and reads its weights, at the latest when it first
    runs. It stays in eval mode whatever is asked of it, and runs without gradients: under
    ``no_grad``, not ``inference_mode``, whose tensors a loss may not keep for its backward pass.

    A subclass sets ``channels`` and ``strides`` and writes :meth:`build`, :meth:`extract` and
    :meth:`describe`; one that learns from the student also :meth:`bind`, :meth:`update`,
    :meth:`memory`, :meth:`load_memory` and ``stateful``.

    Args:
        mean: What its weights expect to be subtracted, per channel as in ``channel_order``, of
            images in 0..1.
        std: What they expect to be divided by.
        patch: Its input's height and width are multiples of this.
        input_size: (h, w) of its input in pixels, or a factor on the student's input. None: the
            student's own size.
        dtype: 'fp32', 'fp16' or 'bf16': its weights are kept so, it computes in that type, and
            neither ``.half()`` nor autocast changes it. 'auto': the fastest of them where it is
            loaded; see :func:`.precision.resolve_dtype`. None: it is cast with the student and
            honours autocast, as any module does (which casts frozen weights anew in every step).
        channel_order: 'rgb' or 'bgr': what the network reads.
        fit: How sides become multiples of ``patch``: 'resize' brings them down to the next one
            and changes the picture's shape a little; 'pad' keeps its shape and adds the mean
            colour on the right and at the bottom.
        micro_batch: Images that run at once; None: all.
        memory_budget: Instead of it: '4GiB' is what a forward pass may take beside the weights.
        compile: Whether :meth:`extract` is compiled by torch; a dict gives torch.compile's
            options.
        stream: Whether it runs on a CUDA stream of its own, beside the student's forward pass.

    Attributes:
        channels: Feature name to channels, of every feature it can give.
        strides: Feature name to pixels of the teacher's input per cell.
        is_random: Whether its weights are random, which only happens when asked for by name.
        stateful: Whether it changes during training, so that a checkpoint must have its
            :meth:`memory`.
        dtype: The type of its own, None if it has none (or, with 'auto', is not loaded).
    """

    channels: Dict[str, int]
    strides: Dict[str, int]
    is_random = False
    stateful = False

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        patch: int = 1,
        input_size: Union[None, float, Tuple[int, int]] = None,
        dtype: Optional[str] = None,
        channel_order: str = 'rgb',
        fit: str = 'resize',
        micro_batch: Optional[int] = None,
        memory_budget: Union[None, int, str] = None,
        compile: Union[bool, dict] = False,
        stream: bool = False,
    ):
        super().__init__()
        owner = type(self).__name__
        check_dtype(dtype, owner)
        self.patch = patch
        self.input_size = picture.check_input_size(input_size, owner)
        self.channel_order = picture.check_choice(
            'channel_order', channel_order, picture.ORDERS, owner
        )
        self.fit = picture.check_choice('fit', fit, picture.FITS, owner)
        self.dtype_name = dtype
        self.dtype = None if dtype == AUTO else resolve_dtype(dtype, None)
        self.runtime = Runtime(micro_batch, memory_budget, compile, stream, owner)
        self.net: Optional[nn.Module] = None
        # Of images in 0..255.
        self.register_buffer('mean', 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._requested: Tuple[str, ...] = ()
        self._channels_last = False
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
            Name to map (N, C, h', w') or vector (N, C), for at least the requested features.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """One line for logs: which network, which weights."""
        return type(self).__name__

    def bind(self, student: nn.Module) -> None:
        """Shows the student, once and before :meth:`load`, to a teacher that is made of it."""

    def update(self, student: nn.Module) -> None:
        """Called at the beginning of every training step, for a teacher that follows."""

    def memory(self) -> Dict[str, Tensor]:
        """What a checkpoint must have for training to go on; nothing if it never changes."""
        return {}

    def load_memory(self, memory: Dict[str, Tensor]) -> None:
        """Takes back what :meth:`memory` gave."""

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
            self.dtype = resolve_dtype(self.dtype_name, device)
            self.net = net.requires_grad_(False).eval()
            self.net.to(dtype=self.dtype or dtype)
            if self._channels_last:
                self.net.to(memory_format=torch.channels_last)
        return self.to(device) if device is not None else self

    def release(self) -> None:
        """Frees the network, for distillation that is over; :meth:`load` would build it anew."""
        self.runtime.reset()
        self.net = None

    def launch(self, images: Tensor, data_samples: Optional[Sequence] = None) -> Pending:
        """Starts the forward pass.

        Args:
            images: (N, 3, H, W), RGB, 0..255, of any floating type or uint8.
            data_samples: Not read here; a teacher that looks things up does.

        Returns:
            What to wait() for; without ``stream=True`` everything is computed already.

        Raises:
            MMKDError: Its weights cannot be loaded: a teacher never runs without.
        """
        with torch.no_grad():
            if not self.loaded:
                self.load(images.device)
            with self._precision(images.device):
                return self.runtime.launch(self.preprocess, self.extract, images)

    def forward(self, images: Tensor, data_samples: Optional[Sequence] = None) -> Dict[str, Tensor]:
        """As :meth:`launch`, and waits.

        Returns:
            Feature name to (N, C, h, w) or (N, C).
        """
        return self.launch(images, data_samples).wait()

    def run(self, x: Tensor) -> Dict[str, Tensor]:
        """The bare network, in one piece, on what :meth:`preprocess` gives."""
        with torch.no_grad(), self._precision(x.device):
            return self.extract(x)

    # Its input.

    def picture_size(self, size: Tuple[int, int]) -> Tuple[int, int]:
        """(h, w) that pictures of (H, W) pixels are resized to."""
        return picture.picture_size(size, self.input_size, self.patch, self.fit)

    def target_size(self, size: Tuple[int, int]) -> Tuple[int, int]:
        """(h, w) of the network's input, padding included, for pictures of (H, W) pixels."""
        return picture.padded_size(self.picture_size(size), self.patch)

    def extent(self, size: Tuple[int, int]) -> Tuple[float, float]:
        """How many pixels of the student's input, from its top left corner, the maps cover.

        Args:
            size: (H, W) of that input.

        Returns:
            ``size`` itself unless padding makes it more.
        """
        pairs = zip(size, self.picture_size(size), self.target_size(size))
        return tuple(side * whole / real for side, real, whole in pairs)

    def preprocess(self, images: Tensor) -> Tensor:
        """Resizes, normalises and pads on the images' device.

        Args:
            images: (N, 3, H, W), RGB, 0..255, of any floating type or uint8.

        Returns:
            (N, 3, h, w) in the network's type.
        """
        size = tuple(images.shape[2:])
        x = picture.prepare(
            images,
            self.picture_size(size),
            self.target_size(size),
            self.mean,
            self.std,
            self.channel_order,
        )
        return x.to(next(self.net.parameters()).dtype)

    # Its identity.

    def fingerprint(self) -> str:
        """SHA-256 over the weights as they are used and over the preprocessing, in hex."""
        return self.identity().hash

    def identity(self) -> Fingerprint:
        """The fingerprint and its parts, which tell what has changed."""
        if not self.loaded:
            raise MMKDError(f'{type(self).__name__} has no weights yet to take a fingerprint of.')
        return identify(self.net.state_dict(), self._preprocessing())

    def _preprocessing(self) -> Dict[str, Any]:
        return {
            'mean': self.mean.flatten().tolist(),
            'std': self.std.flatten().tolist(),
            'patch': self.patch,
            'input_size': self.input_size,
            'channel_order': self.channel_order,
            'fit': self.fit,
        }

    # A module that stays as it is.

    def _precision(self, device: torch.device):
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(device.type, enabled=False)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in eval mode: dropout and batch statistics would make it another teacher."""
        return super().train(False)

    def _apply(self, fn, *args, **kwargs):
        """Follows devices and memory formats always, types only if it has none of its own."""

        def follow(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if self.dtype is not None and moved.dtype != tensor.dtype:
                # Through half precision and back would lose bits: move the original.
                return tensor if moved.device == tensor.device else tensor.to(moved.device)
            return moved

        # The network may be loaded later, and should then be laid out as the student is.
        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        probe = fn(torch.empty(1, 2, 2, 2, device=self.mean.device, memory_format=layout))
        self._channels_last = probe.is_contiguous(memory_format=torch.channels_last)
        mean, std = self.mean, self.std
        super()._apply(follow, *args, **kwargs)
        # Pixels are normalised in float32 whatever the network computes in.
        self.mean, self.std = mean.to(self.mean.device), std.to(self.std.device)
        return self
