"""How a teacher's forward pass is run: when, compiled or not, and in how many pieces."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Union

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmkd.errors import MMKDError

from .micro_batch import Features, Forward, MicroBatch

_COMPILER = ('torch._dynamo', 'torch._inductor', 'torch._functorch', 'torch.fx', 'triton')


class Pending:
    """Features that may still be in the making on another stream.

    Args:
        features: Name to tensor.
        event: What to wait for before they are read; None if they are there.
    """

    def __init__(self, features: Features, event: Optional[torch.cuda.Event] = None):
        self._features = features
        self._event = event

    def wait(self) -> Features:
        """The features. The current stream waits for them, the host does not."""
        if self._event is not None:
            for value in self._features.values():
                stream = torch.cuda.current_stream(value.device)
                stream.wait_event(self._event)
                # Or their memory would be given away while this stream still reads it.
                value.record_stream(stream)
            self._event = None
        return self._features


class SideStream:
    """Runs a function on a CUDA stream of its own, beside what the current stream does.

    Args:
        wanted: Whether to; without, and off CUDA, a function just runs.
        owner: For messages.
    """

    def __init__(self, wanted: bool = False, owner: str = 'Teacher'):
        self.wanted = wanted
        self._owner = owner
        self._told = False
        self._stream: Optional[torch.cuda.Stream] = None

    def __call__(self, forward: Forward, images: Tensor) -> Pending:
        """Starts ``forward(images)`` after everything that the current stream has to do so far."""
        if not self.wanted:
            return Pending(forward(images))
        if images.device.type != 'cuda':
            self._tell(images.device.type)
            return Pending(forward(images))
        if self._stream is None or self._stream.device != images.device:
            self._stream = torch.cuda.Stream(images.device)
        self._stream.wait_stream(torch.cuda.current_stream(images.device))
        with torch.cuda.stream(self._stream):
            features = forward(images)
            images.record_stream(self._stream)
            event = self._stream.record_event()
        return Pending(features, event)

    def join(self) -> None:
        """Makes the current stream wait for all that was started."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)

    def _tell(self, device: str) -> None:
        if not self._told:
            print_log(
                f'{self._owner}: stream=True needs a CUDA device and does nothing on {device!r}.',
                logger='current',
            )
        self._told = True


class Runtime:
    """The switches of a teacher's forward pass.

    It holds no weights. A copy or a pickle has the switches, and nothing that was compiled,
    measured or started.

    Args:
        micro_batch: See :class:`.micro_batch.MicroBatch`.
        memory_budget: See there.
        compile: True, or a dict of torch.compile's options.
        stream: See :class:`SideStream`.
        owner: For messages.

    Raises:
        MMKDError: A switch is set to what it cannot be.
    """

    def __init__(
        self,
        micro_batch: Optional[int] = None,
        memory_budget: Union[None, int, str] = None,
        compile: Union[bool, dict] = False,
        stream: bool = False,
        owner: str = 'Teacher',
    ):
        if not isinstance(compile, (bool, dict)):
            raise MMKDError(
                f"{owner} takes compile=True, or a dict of torch.compile's options, but got "
                f'{compile!r}.'
            )
        self._switches = (micro_batch, memory_budget, compile, stream, owner)
        self.compile_options = dict(compile) if isinstance(compile, dict) else {}
        self.compiles = compile is not False
        self.micro_batch = MicroBatch(micro_batch, memory_budget, owner)
        self.side = SideStream(stream, owner)
        self._owner = owner
        self._compiled: Optional[Callable[[Tensor], Features]] = None

    def launch(
        self, prepare: Callable[[Tensor], Tensor], extract: Forward, images: Tensor
    ) -> Pending:
        """Starts ``extract(prepare(images))``.

        Args:
            prepare: Makes the network's input; never compiled, as it is cheap and the one part
                whose sizes vary.
            extract: The network.
            images: (N, 3, H, W).
        """
        if self.compiles and self._compiled is None:
            self._compiled = compiled(extract, self.compile_options, self._owner)
        network = self._compiled or extract

        def plain(piece: Tensor) -> Features:
            return extract(prepare(piece))

        def forward(piece: Tensor) -> Features:
            return network(prepare(piece))

        return self.side(lambda batch: self.micro_batch(forward, batch, plain), images)

    def reset(self) -> None:
        """Lets go of the network; what was started is waited for."""
        self.side.join()
        self._compiled = None
        self.micro_batch.reset()

    def __getstate__(self) -> Dict[str, Any]:
        return {'switches': self._switches}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(*state['switches'])


def compiled(function: Forward, options: Dict[str, Any], owner: str) -> Forward:
    """``torch.compile``, whose failures say what to do about them.

    Raises:
        MMKDError: This torch cannot compile, or there is no such option; when it is called, that
            it could not compile this function.
    """

    def failed(error: Exception) -> MMKDError:
        reason = str(error).strip().splitlines()
        return MMKDError(
            f'{owner}: compile={options or True!r} is not possible here, with torch '
            f'{torch.__version__} ({type(error).__name__}: {reason[0] if reason else "no reason"})'
            '. Leave it out, or choose another backend: compile=dict(backend=...).'
        )

    try:
        fast = torch.compile(function, **options)
    except Exception as error:  # torch names its reasons by many types
        raise failed(error) from error

    def call(x: Tensor) -> Features:
        try:
            return fast(x)
        except Exception as error:
            if not type(error).__module__.startswith(_COMPILER):
                raise
            raise failed(error) from error

    return call
