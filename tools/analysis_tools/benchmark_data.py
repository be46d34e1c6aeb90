"""Times the training pipelines of configs, in turns: decoding, augmentation, packing, no model.

    python tools/analysis_tools/benchmark_data.py CONFIG_A CONFIG_B [...]

Ratios are to the first config, from rounds in which all of them made the same samples.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmkd.apis.benchmark_data import CLOCKS, arm, benchmark
from mmkd.apis.experiment import load_config
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument('--samples', type=int, default=50, help='in a round (default 50)')
    parser.add_argument('--rounds', type=int, default=5, help='that are counted (default 5)')
    parser.add_argument(
        '--clock', choices=list(CLOCKS), default='wall', help='cpu: if others use the machine, too'
    )
    parser.add_argument('--json', type=Path, metavar='OUT')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='of all configs')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    arms = []
    for config in args.configs:
        one = argparse.Namespace(
            config=config,
            cfg_options=args.cfg_options,
            launcher='none',
            local_rank=0,
            work_dir=None,
        )
        arms.append(arm(Path(config).stem, load_config(one)))
    found = benchmark(arms, args.samples, args.rounds, args.clock)
    print(f'{args.rounds} rounds of {args.samples} samples, one process, {args.clock} time')
    print('| config | ms a sample | speed |\n| --- | --: | --: |')
    for name, each in found.items():
        print(f'| {name} | {each["ms"]:.2f} | {each["speed"]:.2f}x |')
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
