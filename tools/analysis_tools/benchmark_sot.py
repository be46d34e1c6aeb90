"""Times single-object trackers in turns, crop and post-processing included, on made-up frames.

A frame is tracked from bytes in memory to its box; reading files is not in it. Parameters,
multiply-accumulates and speed are told next to those of the first config. Without checkpoints
weights are random, which takes as long.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from mmengine.config import DictAction

from mmkd.apis.benchmark_sot import CLOCKS, Settings, as_markdown, benchmark
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('configs', nargs='+', help='the first is what the others are compared with')
    parser.add_argument('--checkpoints', nargs='+', metavar='FILE', help='one per config')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(720, 1280), metavar=('H', 'W'), help='pixels'
    )
    parser.add_argument(
        '--box', type=int, nargs=2, default=(100, 80), metavar=('W', 'H'), help='target, pixels'
    )
    parser.add_argument('--frames', type=int, default=20, help='of a turn')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each tracker')
    parser.add_argument('--warmup', type=int, default=1, help='turns that are not counted')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--threads', type=int, help='of a processor; by default as torch has them')
    parser.add_argument(
        '--clock', choices=list(CLOCKS), default='wall', help='cpu: if others use the machine, too'
    )
    parser.add_argument(
        '--run-ahead', action='store_true', help='boxes are read at the end, as in offline tests'
    )
    parser.add_argument('--json', type=Path, metavar='OUT')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = Settings(
        configs=args.configs,
        checkpoints=args.checkpoints,
        size=tuple(args.size),
        box=tuple(args.box),
        frames=args.frames,
        rounds=args.rounds,
        warmup=args.warmup,
        device=args.device,
        threads=args.threads,
        clock=args.clock,
        read=not args.run_ahead,
        cfg_options=dict(args.cfg_options),
    )
    result = benchmark(settings)
    print(as_markdown(result))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
