"""Times FairMOT's training targets against a Python loop that draws box after box.

Both make the same heatmap, sides, offsets and cells from the same boxes, in turns, in one process;
told are the medians, the median of the rounds' ratios, and by how much the results differ. Boxes
lie on the CPU, as they come from the data loader, unless --device says otherwise.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Tuple

import numpy as np
import torch

from mmkd.errors import MMKDError
from mmkd.models.heads.fairmot_targets import fairmot_targets

STRIDE = 4


class LoopTargets(NamedTuple):
    """heatmap (1, H, W), ltrb (k, 4), offset (k, 2), cell (k,), all of numpy."""

    heatmap: np.ndarray
    ltrb: np.ndarray
    offset: np.ndarray
    cell: np.ndarray


class Drawing(NamedTuple):
    """radius((height, width)) in cells, and draw(plane, (x, y), radius) into the plane."""

    radius: Callable
    draw: Callable


def radius_by_numpy(size: Tuple[int, int], overlap: float = 0.7) -> float:
    height, width = size
    both, area = height + width, height * width
    first = (both + np.sqrt(both**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    second = (2 * both + np.sqrt(4 * both**2 - 16 * (1 - overlap) * area)) / 2
    b = -2 * overlap * both
    third = (b + np.sqrt(b**2 + 16 * overlap * (1 - overlap) * area)) / 2
    return min(first, second, third) + 1e-9


def draw_by_numpy(plane: np.ndarray, centre: Tuple[int, int], radius: int) -> None:
    x, y = centre
    height, width = plane.shape
    steps = np.arange(-radius, radius + 1)
    bell = np.exp(-(steps**2 + steps[:, None] ** 2) / (2 * ((2 * radius + 1) / 6) ** 2))
    left, right = min(x, radius), min(width - x, radius + 1)
    top, bottom = min(y, radius), min(height - y, radius + 1)
    seen = plane[y - top : y + bottom, x - left : x + right]
    np.maximum(seen, bell[radius - top : radius + bottom, radius - left : radius + right], out=seen)


def original_drawing(folder: Path) -> Drawing:
    """FairMOT's own two functions, from ``src/lib/utils/image.py`` of a checkout.

    Raises:
        MMKDError: If they are not there or cannot be imported.
    """
    path = folder / 'src' / 'lib' / 'utils' / 'image.py'
    if not path.is_file():
        raise MMKDError(f'--original {folder}: no checkout of FairMOT; there is no {path}.')
    spec = importlib.util.spec_from_file_location('fairmot_original_image', path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return Drawing(module.gaussian_radius, module.draw_umich_gaussian)
    except (ImportError, AttributeError) as error:
        raise MMKDError(f'--original: {path} cannot be used: {error}') from error


def loop_targets(boxes: np.ndarray, map_size: Tuple[int, int], drawing: Drawing) -> LoopTargets:
    """One image's targets, one box at a time.

    Args:
        boxes: (k, 4) float32 xyxy in input pixels.
        map_size: (H, W).
        drawing: What measures and draws.
    """
    height, width = map_size
    heatmap = np.zeros((1, height, width), np.float32)
    ltrb = np.zeros((len(boxes), 4), np.float32)
    offset = np.zeros((len(boxes), 2), np.float32)
    cell = np.zeros(len(boxes), np.int64)
    for k, box in enumerate(boxes):
        x1, y1, x2, y2 = box / STRIDE
        if x2 <= x1 or y2 <= y1:
            continue
        radius = max(0, int(drawing.radius((math.ceil(y2 - y1), math.ceil(x2 - x1)))))
        centre = np.array(
            [np.clip((x1 + x2) / 2, 0, width - 1), np.clip((y1 + y2) / 2, 0, height - 1)],
            dtype=np.float32,
        )
        whole = centre.astype(np.int32)
        drawing.draw(heatmap[0], (int(whole[0]), int(whole[1])), radius)
        ltrb[k] = centre[0] - x1, centre[1] - y1, x2 - centre[0], y2 - centre[1]
        offset[k] = centre - whole
        cell[k] = whole[1] * width + whole[0]
    return LoopTargets(heatmap, ltrb, offset, cell)


def crowd(count: int, map_size: Tuple[int, int], seed: int) -> np.ndarray:
    """(count, 4) upright people of 30 to 300 pixels, some of them half outside."""
    rng = np.random.default_rng(seed)
    height = np.exp(rng.uniform(math.log(30), math.log(300), count))
    width = height * rng.uniform(0.3, 0.5, count)
    x = rng.uniform(0, map_size[1] * STRIDE, count)
    y = rng.uniform(0, map_size[0] * STRIDE, count)
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return np.stack(corners, axis=1).astype(np.float32)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--boxes', type=int, default=200, help='objects of an image')
    parser.add_argument('--map', type=int, nargs=2, default=(152, 272), metavar=('H', 'W'))
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8], help='images at once')
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument(
        '--burst',
        type=int,
        default=1,
        help='runs in a row, of which the mean is taken: 1 finds caches as another has left them, '
        'as a training step does; more find them warm',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cpu', help='of the boxes that are not looped over')
    parser.add_argument('--original', type=Path, help='a checkout of FairMOT, to loop with too')
    return parser.parse_args()


def compare(args: argparse.Namespace, batch: int, loops: List[Tuple[str, Drawing]]) -> None:
    """Runs all in turns and prints a line for each loop."""
    size = tuple(args.map)
    images = [crowd(args.boxes, size, args.seed + i) for i in range(batch)]
    boxes = [torch.from_numpy(image).to(args.device) for image in images]
    none = [torch.zeros(args.boxes, dtype=torch.long, device=args.device)] * batch

    def ours():
        targets = fairmot_targets(boxes, none, none, 1, size, STRIDE)
        if targets.heatmap.is_cuda:
            torch.cuda.synchronize()
        return targets

    def timed(run: Callable) -> Tuple[float, object]:
        begin = time.perf_counter()
        for _ in range(args.burst):
            result = run()
        return (time.perf_counter() - begin) / args.burst, result

    times = {name: [] for name, _ in loops}
    own = []
    for i in range(args.rounds + 2):
        seconds, targets = timed(ours)
        others = {}
        for name, drawing in loops:
            others[name] = timed(lambda d=drawing: [loop_targets(b, size, d) for b in images])
        if i >= 2:  # the first ones fill caches
            own.append(seconds)
            for name, (slow, _) in others.items():
                times[name].append(slow)
    for name, (_, found) in others.items():
        apart = difference(targets, found)
        ratio = statistics.median(slow / fast for slow, fast in zip(times[name], own))
        print(
            f'batch {batch}: mmkd {statistics.median(own) * 1e3:.2f} ms, {name} '
            f'{statistics.median(times[name]) * 1e3:.2f} ms, ratio {ratio:.1f}; '
            f'largest difference {apart:.1e}'
        )


def difference(targets, found: List[LoopTargets]) -> float:
    """The largest of any target.

    Raises:
        MMKDError: If an object is in another cell, which no rounding explains.
    """
    ours = [targets.heatmap, targets.ltrb, targets.offset]
    theirs = [
        np.stack([one.heatmap for one in found]),
        np.concatenate([one.ltrb for one in found]),
        np.concatenate([one.offset for one in found]),
    ]
    cells = targets.y * targets.heatmap.shape[-1] + targets.x
    if not np.array_equal(cells.cpu().numpy(), np.concatenate([one.cell for one in found])):
        raise MMKDError('The two disagree about the cell of an object.')
    return max(float(np.abs(a.cpu().numpy() - b).max()) for a, b in zip(ours, theirs))


def main(args: Optional[argparse.Namespace] = None) -> None:
    args = args or parse_args()
    if min(args.boxes, args.rounds, args.burst, *args.map, *args.batch) < 1:
        raise MMKDError('--boxes, --map, --batch, --rounds and --burst are 1 or more.')
    loops = [('a loop in numpy', Drawing(radius_by_numpy, draw_by_numpy))]
    if args.original:
        loops.append(("a loop with FairMOT's functions", original_drawing(args.original)))
    print(
        f'{args.boxes} boxes on {args.map[0]}x{args.map[1]} cells, {args.device}; '
        f'{platform.processor() or platform.machine()}, torch {torch.__version__} with '
        f'{torch.get_num_threads()} threads, numpy {np.__version__}; {args.rounds} rounds'
    )
    for batch in args.batch:
        compare(args, batch, loops)


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
