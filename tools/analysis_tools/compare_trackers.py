"""Compares single-object trackers per attribute, with confidence intervals of the differences.

Reads what mmkd.AttributeSOTMetric wrote (test_evaluator.outfile_prefix). An arm is one way of
training; results of its seeds are given as ARM=FILE several times, or by a pattern:

    compare_trackers.py 'no KD=work_dirs/plain_seed*/results.json' \\
        'general=work_dirs/general_seed*/results.json' 'SDST=work_dirs/sdst_seed*/results.json' \\
        'teacher=work_dirs/r50/results.json' --difference SDST general --out work_dirs/sdst
"""

from __future__ import annotations

import argparse
import glob
import sys
from pathlib import Path
from typing import Dict, List, Sequence

import torch
from mmengine.config import DictAction

from mmkd.apis.compare_trackers import METRICS, OVERALL, add_costs, compare, draw, load_arms
from mmkd.apis.compare_trackers_report import as_markdown, check_free, outputs, write_comparison
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'results',
        nargs='+',
        metavar='ARM=FILE',
        help='a json of results, or a pattern of several; ARM is what to call it',
    )
    parser.add_argument(
        '--difference',
        nargs=2,
        action='append',
        metavar=('ARM', 'MINUS'),
        help='may be repeated; default: every other arm minus the first',
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        choices=METRICS,
        default=list(METRICS),
        help='in the Markdown; csv and json have all. Default: all',
    )
    parser.add_argument(
        '--attributes',
        metavar='PATH',
        help='attributes of the videos, instead of those in the results; a json or a folder of '
        'LaSOT, OTB, UAV123, VL-SOT500, pytracking or PySOT',
    )
    parser.add_argument(
        '--common-videos',
        action='store_true',
        help='compare on the videos that all results have, instead of refusing',
    )
    parser.add_argument('--resamples', type=int, default=10_000, help='default: %(default)s')
    parser.add_argument(
        '--level', type=float, default=95.0, help='percent in an interval; default: %(default)s'
    )
    parser.add_argument('--seed', type=int, default=0, help='of resamples; default: %(default)s')
    parser.add_argument(
        '--configs',
        nargs='+',
        default=[],
        metavar='ARM=CONFIG',
        help='add parameters, multiply-accumulates and frames per second of these, timed in turns '
        'on this machine; ratios are to the first',
    )
    parser.add_argument('--device', help='where to time; default: a GPU if there is one')
    parser.add_argument(
        '--speed-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='settings of that benchmark, e.g. rounds=9 clock=cpu (tools/analysis_tools/'
        'benchmark_sot.py has them all)',
    )
    parser.add_argument(
        '--out', metavar='PREFIX', help='write PREFIX.md, PREFIX.csv and PREFIX.json'
    )
    parser.add_argument('--force', action='store_true', help='replace files of --out')
    parser.add_argument('--plots', metavar='DIR', help='draw radar plots and curves there')
    parser.add_argument(
        '--curves-of',
        nargs='+',
        default=[OVERALL],
        metavar='NAME',
        help='attributes and groups whose curves are drawn, or all; default: overall',
    )
    return parser.parse_args()


def read_arms(texts: Sequence[str]) -> Dict[str, List[str]]:
    """``ARM=FILE`` texts as ``{arm: files}``; a text without a name is called as its file."""
    arms: Dict[str, List[str]] = {}
    for text in texts:
        name, equals, path = text.partition('=')
        # A path may have an equals sign of its own.
        if not equals or Path(text).exists():
            name, path = Path(text).stem, text
        # The csv files beside them match many a pattern, too.
        matches = [match for match in glob.glob(path) if match.endswith('.json')]
        found = [path] if Path(path).exists() else sorted(matches)
        if not name or not found:
            raise MMKDError(f'There are no results {path!r} (given as {text!r}).')
        arms.setdefault(name, []).extend(found)
    return arms


def read_configs(texts: Sequence[str]) -> Dict[str, str]:
    """``ARM=CONFIG`` texts as ``{arm: config}``."""
    configs: Dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition('=')
        if not equals:
            raise MMKDError(f'--configs {text!r}: expected ARM=CONFIG.')
        if name in configs:
            raise MMKDError(f'--configs has two configs of {name!r}; an arm has one.')
        configs[name] = path
    return configs


def main() -> None:
    args = parse_args()
    if args.out and not args.force:
        check_free(outputs(args.out))
    configs = read_configs(args.configs)
    arms = load_arms(read_arms(args.results), args.attributes, args.common_videos)
    differences = [tuple(pair) for pair in args.difference] if args.difference else None
    result = compare(arms, differences, args.resamples, args.level, args.seed)
    if configs:
        device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        add_costs(result, configs, **{'device': device, **args.speed_options})
    print(as_markdown(result, args.metrics))
    if args.out:
        for path in write_comparison(args.out, result, args.metrics, args.force):
            print(path)
    if args.plots:
        for path in draw(arms, args.plots, args.curves_of):
            print(path)


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
