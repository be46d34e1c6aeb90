"""Times what a cache costs and saves: steps of training, building it, reading it.

    python tools/cache_teacher.py CONFIG
    python tools/analysis_tools/benchmark_cache.py CONFIG
    python tools/analysis_tools/benchmark_cache.py CONFIG --what build
    python tools/analysis_tools/benchmark_cache.py CONFIG --what reading --workers 0 2 8

A step is the losses and their gradients, without an optimiser, of the student alone, with the live
teacher and with its cache; all take turns in one process on the same samples. Building is of caches
in a scratch folder, beside the bare teacher. Reading is a data loader's, with and without the
cache. Ratios are medians of those within one round.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction

from mmkd.apis import benchmark_cache_build, benchmark_cache_reading
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
    parser.add_argument('--what', choices=['steps', 'build', 'reading'], default='steps')
    parser.add_argument(
        '--workers',
        type=int,
        nargs='+',
        help='of the data loader, for build (default 1) and reading (default 0 1 2 4 8)',
    )
    parser.add_argument('--samples', type=int, default=96, help='that a pass of reading loads')
    parser.add_argument('--scratch', metavar='FOLDER', help='where caches are built, and removed')
    parser.add_argument('--json', type=Path, metavar='OUT')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    args.launcher, args.local_rank, args.work_dir = 'none', 0, None
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    found = {'steps': steps, 'build': build, 'reading': reading}[args.what](cfg, args)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2))


def steps(cfg: Config, args: argparse.Namespace) -> Any:
    """Times steps of training."""
    found = benchmark(cfg, Settings(args.batch, args.rounds, args.clock, args.device, args.amp))
    print(f'{args.rounds} rounds, batch {args.batch}, {args.device}, {args.clock} time')
    print('| step | s | / student |\n| --- | --: | --: |')
    for name, each in found['steps'].items():
        print(f'| {name} | {each["seconds"]:.3f} | {each["ratio"]:.3f} |')
    print('| making a batch | ms | / without the cache |\n| --- | --: | --: |')
    for name, each in found['loading'].items():
        print(f'| {name} | {1e3 * each["seconds"]:.1f} | {each["ratio"]:.3f} |')
    print(f'{found["bytes"] / 1e6:.3f} MB a record')
    return found


def build(cfg: Config, args: argparse.Namespace) -> Any:
    """Times building."""
    workers = args.workers or [1]
    if len(workers) > 1:
        raise MMKDError(f'--what build takes one number of --workers, but got {workers}.')
    settings = benchmark_cache_build.Settings(
        args.batch, workers[0], args.rounds, args.device, args.scratch
    )
    found = benchmark_cache_build.benchmark(cfg, settings)
    print(f'{args.rounds} rounds, batch {args.batch}, {workers[0]} worker(s), {args.device}')
    print("| | s a record | of the bare teacher's throughput |\n| --- | --: | --: |")
    print(f'| bare teacher | {found["bare"]:.3f} | 1 |')
    print(f'| building | {found["build"]:.3f} | {found["throughput"]:.3f} |')
    return found


def reading(cfg: Config, args: argparse.Namespace) -> Any:
    """Times reading."""
    settings = benchmark_cache_reading.Settings(
        args.batch, args.workers or (0, 1, 2, 4, 8), args.rounds, args.samples
    )
    found = benchmark_cache_reading.benchmark(cfg, settings)
    print(f'{args.rounds} rounds of {args.samples} samples, batch {args.batch}')
    print('| workers | what | samples/s | / samples alone |\n| --: | --- | --: | --: |')
    for workers, arms in found.items():
        for name, each in arms.items():
            print(f'| {workers} | {name} | {each["rate"]:.1f} | {each["to_samples"]:.3f} |')
    return found


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
