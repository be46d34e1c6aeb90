"""Draws a synthetic single-object tracking set in LaSOT's layout, with exact attributes.

    python tools/dataset_converters/make_synthetic_sot.py data/synthetic_sot --train 120 --test 40

writes data/synthetic_sot/videos/<kind>/<kind>-<n>/..., data/synthetic_sot/annotations/
train_infos.txt, test_infos.txt and attributes.json: what configs/_base_/datasets/synthetic_sot.py
reads. docs/sot_synthetic.md says what the attributes mean.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from typing import Dict

from mmkd.datasets.synthetic.sot_plan import ATTRIBUTES, DEFAULT_SHARE, check_names
from mmkd.datasets.synthetic.sot_writer import write_sot_set
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('output', help='folder of the set')
    parser.add_argument('--train', type=int, default=120, help='videos to train; default: 120')
    parser.add_argument(
        '--test', type=int, default=40, help='videos to test, with other seeds; default: 40'
    )
    parser.add_argument('--frames', type=int, default=100, help='of each video; default: 100')
    parser.add_argument('--size', default='320x240', help='in pixels; default: 320x240')
    parser.add_argument('--seed', type=int, default=0, help='of the whole set; default: 0')
    parser.add_argument(
        '--share',
        nargs='+',
        default=[],
        metavar='NAME=P',
        help=f'share of the videos that have an attribute, e.g. FM=0.4 FOC=0.3; of the others '
        f'{DEFAULT_SHARE}. Attributes: {", ".join(ATTRIBUTES)}',
    )
    parser.add_argument(
        '--only', help='switch all attributes off but these, e.g. FM,FOC (POC comes with FOC)'
    )
    parser.add_argument(
        '--target-size',
        default='0.15:0.24',
        help="square root of a target's area in the first frame, in image heights, smallest and "
        'largest; default: 0.15:0.24 (LR has its own: 14 to 18 pixels)',
    )
    parser.add_argument(
        '--distractors', type=int, default=3, help='other objects in each video; default: 3'
    )
    parser.add_argument('--quality', type=int, default=90, help='of the jpeg files; default: 90')
    parser.add_argument('--workers', type=int, default=1, help='processes; default: 1')
    parser.add_argument('--force', action='store_true', help='replace the set if it is there')
    return parser.parse_args()


def parse_shares(items, only: str | None) -> Dict[str, float]:
    """Reads --share and --only.

    Raises:
        MMKDError: If an item is not NAME=number, or there is no such attribute.
    """
    shares: Dict[str, float] = {}
    if only:
        names = [name.strip() for name in only.split(',') if name.strip()]
        check_names(names)
        shares = {name: DEFAULT_SHARE if name in names else 0.0 for name in ATTRIBUTES}
    for item in items:
        name, _, value = item.partition('=')
        try:
            shares[name] = float(value)
        except ValueError as error:
            raise MMKDError(f"--share: '{item}' is not NAME=number, as in FM=0.4.") from error
    return shares


def run(args: argparse.Namespace) -> None:
    """Draws the set and tells how far it is."""
    size = re.fullmatch(r'(\d+)x(\d+)', args.size)
    if not size:
        raise MMKDError(f"--size: '{args.size}' is no size like 320x240.")
    target = re.fullmatch(r'(0?\.\d+):(0?\.\d+)', args.target_size)
    if not target:
        raise MMKDError(f"--target-size: '{args.target_size}' is no pair like 0.15:0.24.")
    if min(args.train, args.test, args.seed) < 0:
        raise MMKDError('--train, --test and --seed cannot be negative.')
    total, done, start = (args.train + args.test) * args.frames, 0, time.time()

    def tick(frames: int) -> None:
        nonlocal done
        done += frames
        rate = done / (time.time() - start)
        if done // frames % 20 == 0 or done == total:
            left = (total - done) / rate
            print(f'{done}/{total} frames, {rate:.0f} frames/s, {left:.0f} s left', flush=True)

    report = write_sot_set(
        args.output,
        {'train': args.train, 'test': args.test},
        seed=args.seed,
        shares=parse_shares(args.share, args.only),
        quality=args.quality,
        workers=args.workers,
        force=args.force,
        progress=tick,
        width=int(size.group(1)),
        height=int(size.group(2)),
        frames=args.frames,
        target_size=(float(target.group(1)), float(target.group(2))),
        distractors=args.distractors,
    )
    print(f'{"":8}' + ''.join(f'{name:>5}' for name in ATTRIBUTES))
    for split, count in report['videos'].items():
        row = ''.join(f'{report["attributes"][name][split]:5}' for name in ATTRIBUTES)
        print(f'{split:8}{row}  of {count} videos, {report["frames"][split]} frames')


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
