"""Renders synthetic sequences of walkers in MOTChallenge's layout, and their annotation file.

    python tools/dataset_converters/make_synthetic_mot.py data/synthetic --name train --seed 0
    python tools/dataset_converters/make_synthetic_mot.py data/synthetic --name val --seed 1

writes data/synthetic/train/SYN-0-01/..., data/synthetic/annotations/train.json, and so on.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from pathlib import Path

from mmkd.datasets.converters.mot import convert
from mmkd.datasets.synthetic import SceneConfig, write_sequence
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('output', help='folder of the data set')
    parser.add_argument('--name', default='train', help='of the split; default: train')
    parser.add_argument('--sequences', type=int, default=4)
    parser.add_argument('--frames', type=int, default=100, help='of each sequence')
    parser.add_argument('--size', default='448x256', help='of the frames; default: 448x256')
    parser.add_argument('--walkers', type=int, default=14, help='persons in each sequence')
    parser.add_argument(
        '--vehicles', type=int, default=0, help='cars in each sequence: a second class'
    )
    parser.add_argument('--obstacles', type=int, default=6, help='what hides the walkers')
    parser.add_argument('--fps', type=float, default=15)
    parser.add_argument('--seed', type=int, default=0, help='of the split: take another for val')
    parser.add_argument('--force', action='store_true', help='replace the split if it is there')
    return parser.parse_args()


def _make_room(folder: Path, annotations: Path, force: bool) -> None:
    """Takes away what an earlier call drew: left there, it would end up in the annotation file."""
    there = sorted(path for path in folder.glob('SYN-*') if path.is_dir())
    there += [annotations] if annotations.exists() else []
    if there and not force:
        raise MMKDError(f"'{there[0]}' exists. Replace this split with --force.")
    for path in there:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def run(args: argparse.Namespace) -> None:
    """Renders all sequences and tells how far it is."""
    match = re.fullmatch(r'(\d+)x(\d+)', args.size)
    if not match:
        raise MMKDError(f"--size: '{args.size}' is no size like 448x256.")
    if args.sequences < 1:
        raise MMKDError(f'--sequences must be 1 or more, not {args.sequences}.')
    folder = Path(args.output) / args.name
    annotations = Path(args.output) / 'annotations' / f'{args.name}.json'
    _make_room(folder, annotations, args.force)
    total, done, start = args.sequences * args.frames, 0, time.time()

    def tick() -> None:
        nonlocal done
        done += 1
        if done % 50 == 0 or done == total:
            rate = done / (time.time() - start)
            left = (total - done) / rate
            print(f'{done}/{total} frames, {rate:.0f} frames/s, {left:.0f} s left', flush=True)

    for index in range(1, args.sequences + 1):
        config = SceneConfig(
            width=int(match.group(1)),
            height=int(match.group(2)),
            frames=args.frames,
            walkers=args.walkers,
            vehicles=args.vehicles,
            obstacles=args.obstacles,
            fps=args.fps,
            # No two sequences of two splits share a seed as long as there are below 1000.
            seed=1000 * args.seed + index,
        )
        name = f'SYN-{args.seed}-{index:02d}'
        write_sequence(str(folder / name), config, progress=tick)
    report = convert(str(folder), str(annotations), force=args.force)
    print(
        f'{report["file"]}: {len(report["sequences"])} sequences, {report["frames"]} frames, '
        f'{report["boxes"]} boxes, {report["ids"]} ids'
    )


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
