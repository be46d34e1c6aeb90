"""Times whole training iterations of several configs in turns.

    python tools/analysis_tools/benchmark_training.py \
        --arm live configs/kd/fairmot_dinov2.py \
        --arm bf16 configs/kd/fairmot_dinov2.py optim_wrapper.type=mmkd.Bf16OptimWrapper \
        --cfg-options train_dataloader.dataset.data_root=DATA/

An iteration goes from picture files to new weights, in one process without workers and hooks. The
arms take turns on the same samples; ratios are medians of those within one round.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Dict, List

import torch
from mmengine.config import Config, DictAction

from mmkd.apis.benchmark_data import CLOCKS
from mmkd.apis.benchmark_training import Settings, benchmark
from mmkd.apis.experiment import load_config
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--arm',
        nargs='+',
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG [KEY=VALUE ...]'),
        help='a training; ratios are to the first',
    )
    parser.add_argument('--batch', type=int, help="samples (default: the config's)")
    parser.add_argument('--rounds', type=int, default=5, help='that are counted (default 5)')
    parser.add_argument('--warmup', type=int, default=2, help='iterations before (default 2)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--clock', choices=list(CLOCKS), default='wall', help='cpu: if others use the machine, too'
    )
    parser.add_argument('--json', type=Path, metavar='OUT')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='of all arms')
    return parser.parse_args()


def read_arms(arms: List[List[str]], options: dict) -> Dict[str, Config]:
    """The configs of a command line."""
    found: Dict[str, Config] = {}
    for arm in arms:
        if len(arm) < 2:
            raise MMKDError(f'--arm takes a name and a config, but got {" ".join(arm)!r} alone.')
        name, file, *settings = arm
        if name in found:
            raise MMKDError(f'There are two arms of the name {name!r}.')
        parser = argparse.ArgumentParser(prog=f'--arm {name}')
        parser.add_argument('config')
        parser.add_argument('--own', nargs='*', action=DictAction)
        args = parser.parse_args([file, *(['--own', *settings] if settings else [])])
        args.launcher, args.local_rank, args.work_dir = 'none', 0, None
        args.cfg_options = options
        cfg = load_config(args)
        if args.own:
            cfg.merge_from_dict(args.own)
        found[name] = cfg
    return found


def main() -> None:
    args = parse_args()
    settings = Settings(args.batch, args.rounds, args.warmup, args.device, args.clock)
    found = benchmark(read_arms(args.arm, args.cfg_options), settings)
    print(f'{args.rounds} rounds, {args.device}, {args.clock} time')
    print('| training | s | speed |\n| --- | --: | --: |')
    for name, each in found.items():
        print(f'| {name} | {each["seconds"]:.3f} | {each["speed"]:.2f}x |')
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
