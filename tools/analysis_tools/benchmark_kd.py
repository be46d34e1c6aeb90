"""Times distillation, and what each switch of it changes, on made-up images.

Three steps are compared: the student's alone, the teacher's bare forward pass, and both together
with the loss between them; and that again with one switch changed at a time. All take turns in
one process, each round in another order; ratios are medians of those within one round. A step is
the losses and their gradients, without an optimiser. For memory every arm runs once more, in a
process of its own. With --random-teacher no weights are needed: they take as long as real ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any, Dict, List

import torch
from mmengine.config import DictAction
from mmengine.logging import MMLogger

from mmkd.apis.benchmark_kd import AMP, CLOCKS, Settings, benchmark
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('config', help='a config of distillation')
    parser.add_argument('--size', type=int, nargs=2, default=(608, 1088), metavar=('H', 'W'))
    parser.add_argument('--batch', type=int, default=2, help='images')
    parser.add_argument('--boxes', type=int, default=30, help='objects of an image')
    parser.add_argument('--ids', type=int, default=500, help='identities, where there are any')
    parser.add_argument('--steps', type=int, default=10, help='turns of each arm')
    parser.add_argument('--warmup', type=int, default=2, help='turns that are not counted')
    parser.add_argument('--repeat', type=int, help='steps of a turn; 1, or 3 on a GPU')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--clock', choices=list(CLOCKS), default='wall', help='cpu: if others use the machine, too'
    )
    parser.add_argument('--threads', type=int, help='of a processor')
    parser.add_argument('--amp', choices=list(AMP), help='the student under autocast')
    parser.add_argument('--random-teacher', action='store_true', help='no weights are read')
    parser.add_argument('--arms', nargs='*', metavar='ARM', help='only these, by name')
    parser.add_argument('--no-memory', action='store_true')
    parser.add_argument('--json', type=Path, metavar='OUT')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_args()


def table(result: Dict[str, Any]) -> str:
    """The result as Markdown."""
    rows: List[List[str]] = [['step', 'ms', '/ student', '/ kd', 'peak MiB', 'teacher', 'what']]
    for name, arm in result['arms'].items():
        peak = arm['peak_bytes']
        rows.append(
            [
                name,
                f'{arm["seconds"] * 1e3:.1f}',
                f'{arm["to_student"]:.3f}',
                f'{arm["to_kd"]:.3f}',
                '' if peak is None else f'{peak / 2**20:.0f}',
                arm['dtype'],
                arm['what'],
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, ['-' * width for width in widths])
    return '\n'.join(
        '| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) + ' |'
        for row in rows
    )


def report(result: Dict[str, Any]) -> str:
    """All that is told of a result."""
    settings, where = result['settings'], result['machine']
    height, width = settings['size']
    words = [
        f'{settings["config"]}: {settings["batch"]} images of {height}x{width} (HxW), '
        f'{where["device"]} ({where["name"]}), {where["threads"]} threads, torch '
        f'{where["torch"]}, {settings["steps"]} turns, {settings["clock"]} clock'
    ]
    words += [f'{name}: {what}' for name, what in result['teachers'].items()]
    words += ['', table(result), '']
    words += [f'{name}: left out. {why}' for name, why in result['left_out'].items()]
    for row in result['summary']:
        aim = '' if row['aim'] is None else f', aim at most {row["aim"]:g}: '
        met = {None: '', True: 'met', False: 'MISSED'}[row['met']]
        words.append(f'{row["what"]}: {row["found"]:.3f}{aim}{met}')
    sync = result['sync']
    how = 'sync debug mode' if sync['how'] == 'cuda' else 'looking at the operators'
    words.append(f'Waiting of the host within distillation, by {how}: {len(sync["found"])} places')
    words += [f'  {line}' for line in sync['found']]
    return '\n'.join(words)


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    # That the weights are random is no news here.
    MMLogger.get_instance('mmkd').setLevel(logging.ERROR)
    cuda = torch.device(args.device).type == 'cuda'
    settings = Settings(
        config=str(args.config),
        cfg_options=dict(args.cfg_options),
        size=tuple(args.size),
        batch=args.batch,
        boxes=args.boxes,
        ids=args.ids,
        steps=args.steps,
        repeat=args.repeat or (3 if cuda else 1),
        warmup=args.warmup,
        device=args.device,
        clock=args.clock,
        amp=args.amp,
        random_teacher=args.random_teacher,
        arms=args.arms,
    )
    result = benchmark(settings, memory=not args.no_memory)
    print(report(result))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
