"""Shows what the iterations of a training are made of, in percent.

    python tools/analysis_tools/profile_training.py CONFIG

The config's own runner trains a few iterations: data, model, optimiser and every hook are those of
tools/train.py. What a part takes does not count within the part that calls it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmkd.apis.benchmark_data import CLOCKS
from mmkd.apis.experiment import add_speed_arguments, enable_amp, enable_compile, load_config
from mmkd.apis.profile_training import profile
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='training config file')
    parser.add_argument('--iterations', type=int, default=10, help='counted (default 10)')
    parser.add_argument('--warmup', type=int, default=2, help='iterations before (default 2)')
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        help='of the data loader; 0 (default) tells the transforms apart, more shows the waiting',
    )
    parser.add_argument(
        '--clock', choices=list(CLOCKS), default='wall', help='cpu: if others use the machine, too'
    )
    parser.add_argument('--json', type=Path, metavar='OUT')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    add_speed_arguments(parser)
    args = parser.parse_args()
    args.launcher, args.local_rank, args.work_dir = 'none', 0, None
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp or args.amp_dtype:
        enable_amp(cfg, args.amp_dtype)
    if args.compile:
        enable_compile(cfg)
    found = profile(cfg, args.iterations, args.warmup, args.workers, args.clock)
    print(f'{found.iterations} iterations, {found.seconds:.3f} s each, {args.clock} time')
    print('| part | share |\n| --- | --: |')
    for name, share in sorted(found.shares.items(), key=lambda item: -item[1]):
        print(f'| {name} | {share:.2%} |')
    if args.json is not None:
        args.json.write_text(json.dumps(found._asdict(), indent=2))


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
