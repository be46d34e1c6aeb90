"""Times the association of JDETracker, beside FairMOT's own where there is a checkout of it.

Every frame is given to both, in turns, in one process; the first of a frame changes from frame to
frame. Told are the medians of the times per frame and the median of the frames' ratios, and in how
many frames both gave the same tracks. Without --original there is nothing to compare with, and
only our times are told. Times hold from detections on the CPU to tracks; the network is in neither.

--memory runs 10,000 frames of people who come and go instead, and tells how much Python and NumPy
hold in between.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Tuple

import lap
import numpy as np
import scipy
import torch
from original_tracker import OriginalTracker

from mmkd.errors import MMKDError
from mmkd.models.trackers import JDETracker

IMAGE = np.array([1920.0, 1080.0])
WARM_UP = 30  # frames; until then tracks are young and caches cold


@dataclass
class Frame:
    """Boxes (m, 4) xyxy in pixels, scores (m,) and embeddings (m, D), all float32."""

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray


def crowd(people: int, dims: int, turnover: float, missed: float, seed: int) -> Iterator[Frame]:
    """People who walk through a full HD image, each seen with noise.

    Args:
        people: How many there are at any time.
        dims: Length of the embeddings.
        turnover: Share of the people who leave in a frame, each followed by a new one elsewhere.
        missed: Share of the people whom the detector does not see in a frame.
        seed: Of all that is random.
    """
    rng = np.random.default_rng(seed)

    def arrive(count: int) -> Tuple[np.ndarray, ...]:
        height = rng.uniform(60, 250, (count, 1))
        return (
            rng.uniform(0, 1, (count, 2)) * IMAGE,
            rng.normal(0, 2, (count, 2)),
            height * np.array([0.4, 1.0]),
            rng.normal(size=(count, dims)),
        )

    there = arrive(people)
    while True:
        position, velocity, size, look = there
        position += velocity
        velocity[(position < 0) | (position > IMAGE)] *= -1
        seen = np.flatnonzero(rng.random(people) >= missed)
        centre = position[seen] + rng.normal(0, 1, (len(seen), 2))
        half = size[seen] / 2 * rng.normal(1, 0.01, (len(seen), 2))
        noisy = look[seen] + rng.normal(0, 0.2, (len(seen), dims))
        yield Frame(
            boxes=np.hstack([centre - half, centre + half]).astype(np.float32),
            scores=rng.uniform(0.5, 1, len(seen)).astype(np.float32),
            embeddings=noisy.astype(np.float32),
        )
        gone = np.flatnonzero(rng.random(people) < turnover)
        for old, new in zip(there, arrive(len(gone))):
            old[gone] = new


class Ours:
    """Our tracker with the interface of :class:`OriginalTracker`."""

    def __init__(self) -> None:
        self.tracker, self.frame = JDETracker(), -1

    def feed(self, boxes: np.ndarray, scores: np.ndarray, embeddings: np.ndarray) -> None:
        columns = (boxes, scores, np.zeros(len(boxes), dtype=np.int64), embeddings)
        self.columns = [torch.from_numpy(column) for column in columns]
        self.frame += 1

    def update(self):
        return self.tracker.track(self.frame, *self.columns, fps=30)


def timed(tracker) -> Tuple[float, object]:
    start = time.perf_counter()
    result = tracker.update()
    return time.perf_counter() - start, result


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Times both trackers in turns."""
    trackers = {'mmkd': Ours()}
    if args.original:
        trackers['original'] = OriginalTracker(args.original)
    times = {name: [] for name in trackers}
    same, most, seen = 0, 0, []
    scene = crowd(args.tracks, args.dims, args.turnover, args.missed, args.seed)
    for number, frame in zip(range(WARM_UP + args.frames), scene):
        results = {}
        for name in list(trackers)[:: 1 if number % 2 else -1]:
            trackers[name].feed(frame.boxes, frame.scores, frame.embeddings)
            taken, results[name] = timed(trackers[name])
            if number >= WARM_UP:
                times[name].append(taken)
        if number >= WARM_UP:
            ids = results['mmkd'].instances_id.tolist()
            seen.append(len(frame.boxes))
            most = max(most, len(ids))
            if args.original:
                same += ids == sorted(track.track_id for track in results['original'])

    say(
        f'{args.frames} frames of {statistics.mean(seen):.0f} detections, up to {most} tracks, '
        f'{args.dims}-d embeddings'
    )
    for name, all_times in times.items():
        low, middle, high = (1e3 * np.percentile(all_times, q) for q in (10, 50, 90))
        say(f'{name:9} {middle:8.3f} ms per frame (median; 10 % to 90 %: {low:.3f} to {high:.3f})')
    if not args.original:
        say('No --original: nothing to compare with.')
        return
    ratio = statistics.median(a / b for a, b in zip(times['mmkd'], times['original']))
    kind = 'compiled' if trackers['original'].compiled_overlap else "NumPy's in its place, as it"
    kind += '' if trackers['original'].compiled_overlap else ' is not installed'
    say(f"mmkd needs {ratio:.3f} of the original's time (1 / {1 / ratio:.1f}); median of frames")
    say(f'same tracks in {same} of {args.frames} frames; cython_bbox: {kind}')


def remember(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Tells what each tracker holds in the course of a long video."""
    say(f'{args.tracks} people at a time, {args.turnover:.1%} of them change per frame')
    for name in ['mmkd', *(['original'] if args.original else [])]:
        tracker = Ours() if name == 'mmkd' else OriginalTracker(args.original)
        scene = crowd(args.tracks, args.dims, args.turnover, args.missed, args.seed)
        tracemalloc.start()
        for number, frame in zip(range(1, args.frames + 1), scene):
            tracker.feed(frame.boxes, frame.scores, frame.embeddings)
            tracker.update()
            if number % max(args.frames // 10, 1) == 0:
                del frame
                gc.collect()
                held = tracemalloc.get_traced_memory()[0] / 2**20
                say(f'{name:9} frame {number:6}: {held:9.2f} MiB')
        tracemalloc.stop()


def hardware() -> str:
    model = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith('model name')]
        model = names[0].partition(':')[2].strip() if names else model
    threads = os.environ.get('OMP_NUM_THREADS', 'not set')
    return (
        f'{model}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}; '
        f'Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, '
        f'lap {lap.__version__}, PyTorch {torch.__version__}'
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--tracks', type=int, default=100, help='people; default: %(default)s')
    parser.add_argument('--dims', type=int, default=128, help='of embeddings; default: %(default)s')
    parser.add_argument('--frames', type=int, help='to measure; default: 500, or 10000 of --memory')
    parser.add_argument(
        '--turnover',
        type=float,
        help='share that leaves per frame; default: 0, or 0.01 of --memory',
    )
    parser.add_argument(
        '--missed', type=float, default=0, help='share that is not seen; default: %(default)s'
    )
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument(
        '--original', metavar='DIR', help='a checkout of https://github.com/ifzhang/FairMOT'
    )
    parser.add_argument('--memory', action='store_true', help='tell the memory, not the time')
    args = parser.parse_args()
    if args.frames is None:
        args.frames = 10000 if args.memory else 500
    if args.turnover is None:
        args.turnover = 0.01 if args.memory else 0.0
    for name in ('tracks', 'dims', 'frames'):
        if getattr(args, name) < 1:
            raise MMKDError(f'--{name} is {getattr(args, name)}; expected 1 or more.')
    for name in ('turnover', 'missed'):
        if not 0 <= getattr(args, name) < 1:
            raise MMKDError(f'--{name} is {getattr(args, name)}; expected a share in 0..1.')
    return args


def main() -> None:
    args = parse_args()
    print(hardware())
    (remember if args.memory else measure)(args, print)


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
