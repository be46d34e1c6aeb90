"""Compares FairMOT in float32, bfloat16, float16 and compiled: times, and what it computes.

The weights are those of --checkpoint, or random. All variants take turns in one process, on the
same images and boxes. Told are, for each, the median time of a training step (losses and their
gradients, without an optimiser) and of a test step (network and decoded detections, without a
tracker), as a multiple of float32's in the same round, and the largest difference from float32 of
each map and each loss, as a share of that map's or loss's largest value. Compilation is in none of
the times. It takes minutes on a processor, for which --variants can ask for
fewer.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from contextlib import ExitStack
from typing import Callable, Dict, List, NamedTuple, Optional

import torch
from mmengine.config import DictAction
from mmengine.structures import InstanceData

from mmkd.apis.inference import init_tracker
from mmkd.errors import MMKDError
from mmkd.models.mot import FairMOT

WARM_UP = 2


class Variant(NamedTuple):
    """How the model is run."""

    name: str
    dtype: Optional[torch.dtype]
    compiled: bool


VARIANTS = (
    Variant('float32', None, False),
    Variant('bfloat16', torch.bfloat16, False),
    Variant('float16', torch.float16, False),
    Variant('float32-compiled', None, True),
    Variant('bfloat16-compiled', torch.bfloat16, True),
    Variant('float16-compiled', torch.float16, True),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('config', help='a config of FairMOT, or of a distillation into it')
    parser.add_argument('--checkpoint')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--size', type=int, nargs=2, default=(1088, 608), metavar=('W', 'H'))
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--boxes', type=int, default=50, help='objects of an image')
    parser.add_argument('--ids', type=int, default=500, help='identities of the classifier')
    parser.add_argument('--rounds', type=int, default=10)
    names = [variant.name for variant in VARIANTS]
    parser.add_argument('--variants', nargs='+', default=names, choices=names)
    parser.add_argument('--backend', default='inductor', help='of torch.compile')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_args()


def unavailable(variant: Variant, device: str) -> Optional[str]:
    """Why this torch, on this device, cannot run the variant; None if it can."""
    if variant.compiled and not hasattr(torch, 'compiler'):
        return f'torch {torch.__version__} cannot compile under Python {platform.python_version()}'
    if variant.dtype is None:
        return None
    try:
        with torch.autocast(torch.device(device).type, variant.dtype):
            cell = torch.ones(1, 1, 1, 1, device=device)
            found = torch.nn.functional.conv2d(cell, cell).dtype
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None if found == variant.dtype else f'autocast gives {found} on {device}'


class Bench:
    """The model, its input, and what a variant makes of them."""

    def __init__(self, model: FairMOT, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        width, height = args.size
        self.model = model
        self.device = args.device
        self.backend = args.backend
        self.images = torch.rand(args.batch, 3, height, width, device=args.device)
        self.samples = [self._sample(args) for _ in range(args.batch)]
        self._compiled: Dict[str, Callable] = {}

    def _sample(self, args: argparse.Namespace):
        from mmtrack.structures import TrackDataSample

        size = torch.tensor(args.size, dtype=torch.float32)
        corner = torch.rand(args.boxes, 2) * size * 0.9
        extent = (0.02 + 0.1 * torch.rand(args.boxes, 2)) * size
        gt = InstanceData()
        gt.bboxes = torch.cat([corner, corner + extent], dim=1).to(args.device)
        gt.labels = torch.zeros(args.boxes, dtype=torch.long, device=args.device)
        gt.instances_id = torch.randint(0, max(args.ids, 1), (args.boxes,)).to(args.device)
        sample = TrackDataSample()
        sample.gt_instances = gt
        return sample

    def _call(self, variant: Variant, mode: str):
        function = self.model
        if variant.compiled:
            # One for each precision: autocast is part of what was compiled.
            if variant.name not in self._compiled:
                compiled = torch.compile(self.model.forward, backend=self.backend)
                self._compiled[variant.name] = compiled
            function = self._compiled[variant.name]
        with ExitStack() as stack:
            if variant.dtype is not None:
                stack.enter_context(torch.autocast(torch.device(self.device).type, variant.dtype))
            if mode != 'loss':
                stack.enter_context(torch.no_grad())
            return function(dict(img=self.images[:, None]), self.samples, mode=mode)

    def train_step(self, variant: Variant) -> Dict[str, torch.Tensor]:
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        losses = self._call(variant, 'loss')
        (losses['loss_det'] + losses['loss_id']).backward()
        return {name: value.detach() for name, value in losses.items()}

    def test_step(self, variant: Variant) -> None:
        self.model.eval()
        self._call(variant, 'predict')

    def maps(self, variant: Variant) -> Dict[str, torch.Tensor]:
        self.model.eval()
        return {name: value.float() for name, value in self._call(variant, 'tensor').items()}

    def timed(self, run: Callable) -> float:
        self._wait()
        begin = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if torch.device(self.device).type == 'cuda':
            torch.cuda.synchronize()


def shares(found: Dict[str, torch.Tensor], reference: Dict[str, torch.Tensor]) -> str:
    """The largest difference of each, by the reference's largest value."""
    words = []
    for name, value in reference.items():
        largest = value.abs().max().clamp(min=1e-12)
        words.append(f'{name} {((found[name] - value).abs().max() / largest).item():.1e}')
    return ', '.join(words)


def compare(bench: Bench, variants: List[Variant], rounds: int) -> None:
    """Runs the variants in turns and prints a paragraph for each."""
    steps = (('train', bench.train_step), ('test', bench.test_step))
    # Before training moves the running statistics.
    maps = {variant.name: bench.maps(variant) for variant in variants}
    losses = {variant.name: bench.train_step(variant) for variant in variants}
    times: Dict[str, Dict[str, List[float]]] = {name: {} for name, _ in steps}
    for kind, step in steps:
        for i in range(WARM_UP + rounds):
            for variant in variants:
                seconds = bench.timed(lambda s=step, v=variant: s(v))
                if i >= WARM_UP:
                    times[kind].setdefault(variant.name, []).append(seconds)
    base = variants[0].name
    for variant in variants:
        print(variant.name)
        for kind, _ in steps:
            own = times[kind][variant.name]
            ratio = statistics.median(a / b for a, b in zip(own, times[kind][base]))
            print(f'  {kind}: {statistics.median(own) * 1e3:.1f} ms, {ratio:.2f} of {base}')
        if variant.name != base:
            print(f'  maps: {shares(maps[variant.name], maps[base])}')
            print(f'  losses: {shares(losses[variant.name], losses[base])}')


def build(args: argparse.Namespace) -> FairMOT:
    """The config's FairMOT, ready to train and without a tracker.

    Raises:
        MMKDError: If the config is of something else.
    """
    torch.manual_seed(0)
    model = init_tracker(args.config, args.checkpoint, args.device, args.cfg_options)
    if not isinstance(model, FairMOT):
        raise MMKDError(f'{args.config} is of a {type(model).__name__}; expected mmkd.FairMOT.')
    model.tracker = None
    model.set_num_ids(args.ids)
    return model


def main() -> None:
    args = parse_args()
    if min(args.batch, args.boxes, args.rounds, *args.size) < 1 or args.ids < 0:
        raise MMKDError('--batch, --boxes, --rounds and --size are numbers of 1 and more.')
    bench = Bench(build(args), args)
    name = torch.cuda.get_device_name() if 'cuda' in args.device else platform.machine()
    print(
        f'{args.config}: {args.batch} x {args.size[0]}x{args.size[1]}, {args.boxes} boxes, '
        f'{args.device} ({name}), torch {torch.__version__}, {args.rounds} rounds'
    )
    variants = []
    for variant in VARIANTS:
        # The first is what the others are measured by.
        if variant is not VARIANTS[0] and variant.name not in args.variants:
            continue
        reason = unavailable(variant, args.device)
        if reason is None:
            variants.append(variant)
        else:
            print(f'{variant.name}: left out, {reason}')
    compare(bench, variants, args.rounds)


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
