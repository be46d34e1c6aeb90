"""Times training steps of a config with a cache: student alone, live teacher, cached teacher.

    python tools/cache_teacher.py CONFIG
    python tools/analysis_tools/benchmark_cache.py CONFIG

A step is the losses and their gradients, without an optimiser. All take turns in one process on
the same samples; ratios are medians of those within one round.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from mmengine.config import DictAction

from mmkd.apis.benchmark_cache import Settings, benchmark
from mmkd.apis.benchmark_data import CLOCKS
from mmkd.apis.benchmark_kd import AMP
from mmkd.apis.experiment import load_config
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='its teacher is a CachedTeacher')
    parser.add_argument('--batch', type=int, default=2, help='pictures (default 2)')
    parser.add_argument('--rounds', type=int, default=5, help='that are counted (default 5)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--clock', choices=list(CLOCKS), default='wall', help='cpu: if others use the machine, too'
    )
    parser.add_argument('--amp', choices=list(AMP), help='the student under autocast')
    parser.add_argument('--json', type=Path, metavar='OUT')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    args.launcher, args.local_rank, args.work_dir = 'none', 0, None
    return args


def main() -> None:
    args = parse_args()
    settings = Settings(args.batch, args.rounds, args.clock, args.device, args.amp)
    found = benchmark(load_config(args), settings)
    print(f'{args.rounds} rounds, batch {args.batch}, {args.device}, {args.clock} time')
    print('| step | s | / student |\n| --- | --: | --: |')
    for name, each in found['steps'].items():
        print(f'| {name} | {each["seconds"]:.3f} | {each["ratio"]:.3f} |')
    print('| making a batch | ms | / without the cache |\n| --- | --: | --: |')
    for name, each in found['loading'].items():
        print(f'| {name} | {1e3 * each["seconds"]:.1f} | {each["ratio"]:.3f} |')
    print(f'{found["bytes"] / 1e6:.3f} MB a record')
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
