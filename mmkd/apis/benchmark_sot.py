"""How fast single-object trackers are, crop and post-processing included, side by side."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.errors import MMKDError

from .complexity import count_macs, count_parameters
from .inference import init_tracker
from .sot_branches import FixedTemplate, TemplateBranch, check_siamese

SCHEMA = 'mmkd-sot-speed-1'
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        configs: Config files; of a distillation config the student is taken.
        checkpoints: One per config, or none at all: random weights, which take as long.
        size: (H, W) of the frames, in pixels.
        box: (w, h) of the target, in pixels.
        frames: Frames that each tracker tracks in a turn.
        rounds: Turns of each tracker.
        warmup: Turns that are not counted.
        device: Where.
        threads: Of a processor; None: as it is.
        clock: 'wall', or 'cpu', a processor's time, for a machine that others use as well.
        read: Whether the host reads each box before the next frame, as it does where frames come
            one by one; otherwise at the end of a turn, so that on a GPU it runs ahead.
        cfg_options: Settings that replace those of every config.
    """

    configs: Sequence[str]
    checkpoints: Optional[Sequence[str]] = None
    size: Tuple[int, int] = (720, 1280)
    box: Tuple[int, int] = (100, 80)
    frames: int = 20
    rounds: int = 5
    warmup: int = 1
    device: str = 'cpu'
    threads: Optional[int] = None
    clock: str = 'wall'
    read: bool = True
    cfg_options: Optional[Dict[str, Any]] = None

    def __post_init__(self) -> None:
        if not self.configs:
            raise MMKDError('A benchmark needs at least one config.')
        if self.checkpoints and len(self.checkpoints) != len(self.configs):
            raise MMKDError(
                f'There are {len(self.configs)} configs but {len(self.checkpoints)} checkpoints; '
                'give one each, or none.'
            )
        if min(self.frames, self.rounds, *self.size, *self.box) < 1 or self.warmup < 0:
            raise MMKDError('Frames, rounds and sizes of a benchmark are 1 or more.')
        if self.threads is not None and self.threads < 1:
            raise MMKDError(f'A processor has 1 thread or more, but got threads={self.threads}.')
        cuda = torch.device(self.device).type == 'cuda'
        if self.clock not in CLOCKS or (cuda and self.clock == 'cpu'):
            raise MMKDError(f"clock is 'wall' or, of a processor, 'cpu', but got {self.clock!r}.")


class Tracked:
    """One tracker and the video that it tracks.

    Before each frame the tracker is told the true box of the last one, so that all of them crop
    the same squares, whatever their weights are good for.
    """

    def __init__(self, model: nn.Module, settings: Settings):
        check_siamese(model)
        self.model = model
        self.settings = settings
        self.video = make_video(settings.size, settings.box, settings.frames + 1)
        self.boxes = [torch.tensor(box, device=settings.device) for _, box in self.video]

    @torch.no_grad()
    def run(self, clock: Any) -> float:
        """Tracks the video; the first frame, the template's, does not count.

        Returns:
            Seconds.
        """
        self.model.test_step(self._batch(0))
        batches = [self._batch(i) for i in range(1, len(self.video))]
        found: List[Tensor] = []
        wait(self.settings.device)
        start = clock()
        for last, batch in zip(self.boxes, batches):
            self.model.memo.bbox = last
            (sample,) = self.model.test_step(batch)
            found.append(sample.pred_track_instances.bboxes)
            if self.settings.read:
                found[-1].tolist()
        torch.cat(found).cpu()
        wait(self.settings.device)
        return clock() - start

    def _batch(self, frame_id: int) -> Dict[str, Any]:
        from mmtrack.structures import TrackDataSample

        frame, (cx, cy, w, h) = self.video[frame_id]
        shape = tuple(frame.shape[-2:])
        sample = TrackDataSample(
            metainfo=dict(
                frame_id=frame_id,
                ori_shape=shape,
                img_shape=shape,
                video_length=len(self.video),
            )
        )
        box = torch.tensor([[cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]])
        sample.gt_instances = InstanceData(bboxes=box, labels=torch.zeros(1, dtype=torch.long))
        return dict(inputs=dict(img=[frame]), data_samples=[sample])


def make_video(
    size: Tuple[int, int], box: Tuple[int, int], length: int
) -> List[Tuple[Tensor, List[float]]]:
    """A target that crosses the frame and comes near its border.

    Returns:
        Frames (1, 3, H, W) uint8, all of them the same noise, and boxes (cx, cy, w, h) in pixels.
    """
    height, width = size
    noise = np.random.RandomState(0).randint(0, 256, (1, 3, height, width), dtype=np.uint8)
    frame = torch.from_numpy(noise)
    made = []
    for i in range(length):
        part = (i + 0.5) / length
        centre = width * (0.1 + 0.8 * part), height * (0.5 + 0.35 * np.sin(2 * np.pi * part))
        made.append((frame, [*map(float, centre), *map(float, box)]))
    return made


def settle(model: nn.Module, template: int, search: int) -> None:
    """Takes BatchNorm's statistics from noise: without training, deep maps fade to denormal
    numbers or explode, and processors are slow with both."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.training) for norm in norms]
    device = next(model.parameters()).device
    for norm in norms:
        norm.momentum, norm.training = 1.0, True
    with torch.no_grad():
        seen = model.forward_template(torch.rand(2, 3, template, template, device=device) * 255)
        found = model.forward_search(torch.rand(2, 3, search, search, device=device) * 255)
        model.head(seen, found)
    for norm, (momentum, training) in zip(norms, before):
        norm.momentum, norm.training = momentum, training


def benchmark(settings: Settings) -> Dict[str, Any]:
    """Times trackers in turns, so that all see the same machine, and counts what they are made of.

    A frame's time is that of mmengine's ``test_step``, from bytes in memory to the box: transfer,
    crop, network, decoding, penalties. Reading files is not in it.

    Returns:
        ``schema``, ``settings``, ``machine`` and ``trackers``: of each its name, config, weights,
        ``params``, ``macs`` of a frame and ``template_macs``, input sizes, ``fps`` and ``ms`` of a
        frame (median over rounds, with the quickest and slowest), and relative to the first:
        ``speed`` (median of the ratios within a round), ``compression`` (parameters) and
        ``fewer_macs``.

    Raises:
        MMKDError: If a config cannot be built or is of no Siamese tracker.
    """
    before = torch.get_num_threads()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    try:
        return _benchmark(settings)
    finally:
        torch.set_num_threads(before)


def _benchmark(settings: Settings) -> Dict[str, Any]:
    checkpoints = settings.checkpoints or [None] * len(settings.configs)
    trackers, entries = [], []
    for config, checkpoint in zip(settings.configs, checkpoints):
        model = init_tracker(config, checkpoint, settings.device, settings.cfg_options)
        trackers.append(Tracked(model, settings))
        test = model.test_cfg
        if checkpoint is None:
            settle(model, test.exemplar_size, test.search_size)
        entries.append(
            dict(
                name=Path(config).stem,
                config=str(config),
                weights=str(checkpoint or 'random'),
                **count(model, test.exemplar_size, test.search_size),
                template_size=test.exemplar_size,
                search_size=test.search_size,
            )
        )
    clock = CLOCKS[settings.clock]
    rounds: List[List[float]] = []
    for turn in range(settings.warmup + settings.rounds):
        # Another one begins each time: the first of a turn may find the machine cooler.
        order = np.roll(np.arange(len(trackers)), turn)
        taken = {i: trackers[i].run(clock) / settings.frames for i in order.tolist()}
        if turn >= settings.warmup:
            rounds.append([taken[i] for i in range(len(trackers))])
    first = entries[0]
    for i, entry in enumerate(entries):
        times = [taken[i] for taken in rounds]
        entry.update(
            fps=1 / median(times),
            ms=dict(median=1e3 * median(times), least=1e3 * min(times), most=1e3 * max(times)),
            speed=median(taken[0] / taken[i] for taken in rounds),
            compression=first['params'] / entry['params'],
            fewer_macs=first['macs'] / entry['macs'],
        )
    return dict(
        schema=SCHEMA, settings=asdict(settings), machine=machine(settings.device), trackers=entries
    )


def count(model: nn.Module, template: int, search: int) -> Dict[str, int]:
    """Parameters, and multiply-accumulates of a frame and of the template.

    Args:
        model: mmtrack's SiamRPN or ours.
        template: Side of the template, in pixels.
        search: Side of the search image.
    """
    device = next(model.parameters()).device
    image = torch.rand(1, 3, template, template, device=device) * 255
    network = FixedTemplate(model, image)
    macs, _ = count_macs(network, (search, search))
    once, _ = count_macs(TemplateBranch(model), (template, template))
    params, _ = count_parameters(model)
    return dict(params=params, macs=sum(macs.values()), template_macs=sum(once.values()))


def machine(device: str) -> Dict[str, Any]:
    """Where it ran."""
    cuda = torch.device(device).type == 'cuda'
    return dict(
        device=torch.cuda.get_device_name(device) if cuda else platform.machine(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def as_markdown(result: Dict[str, Any]) -> str:
    """A table, and below it what it means."""
    head = ['tracker', 'params (M)', '/ first', 'GMACs / frame', '/ first', 'ms', 'fps', 'x first']
    rows = [
        [
            entry['name'],
            f'{entry["params"] / 1e6:.2f}',
            f'{entry["compression"]:.2f}x',
            f'{entry["macs"] / 1e9:.2f}',
            f'{entry["fewer_macs"]:.2f}x',
            f'{entry["ms"]["median"]:.1f}',
            f'{entry["fps"]:.1f}',
            f'{entry["speed"]:.2f}x',
        ]
        for entry in result['trackers']
    ]
    rule = [':--'] + ['--:'] * (len(head) - 1)
    lines = ['| ' + ' | '.join(cells) + ' |' for cells in (head, rule, *rows)]
    settings, where = result['settings'], result['machine']
    height, width = settings['size']
    reading = 'each box read' if settings['read'] else 'boxes read at the end'
    lines += [
        '',
        f'{width} x {height} pixels, {settings["rounds"]} rounds of {settings["frames"]} frames, '
        f'{reading}; {where["device"]}, {where["threads"]} threads, torch {where["torch"]}, '
        f'{settings["clock"]} time. Crop and post-processing are in it, reading files is not.',
    ]
    if any(entry['weights'] == 'random' for entry in result['trackers']):
        lines.append('Weights are random: speed is told, tracks are not.')
    return '\n'.join(lines)


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
