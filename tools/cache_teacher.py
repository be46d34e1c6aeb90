"""Builds the cache of a config's teacher, so that distilling costs what training costs.

    python tools/cache_teacher.py CONFIG                    builds what is missing
    python tools/cache_teacher.py CONFIG --dry-run          says how large it will be
    python tools/cache_teacher.py CONFIG --verify           reads every byte of it
    torchrun --nproc_per_node 8 tools/cache_teacher.py CONFIG

Any number of processes, on any number of machines that see the folder, build it together: each
takes the next shard that nobody has. A build that was killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import torch
from mmengine.config import DictAction
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmkd.apis import cache_teacher
from mmkd.apis.experiment import load_config
from mmkd.errors import MMKDError

# torchrun's processes: the first one speaks for all of them.
RANK, WORLD = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='a config of distillation')
    parser.add_argument('--path', help='folder of the cache, if the config names none')
    parser.add_argument('--mode', choices=['exact', 'warp'], help="the config's if unset")
    parser.add_argument('--variants', type=int, help='augmentations of each sample')
    parser.add_argument('--storage', help='bf16, fp16, fp32, pca-N or pca-N-int8')
    parser.add_argument('--batch', type=int, default=8, help='pictures at once (default 8)')
    parser.add_argument('--workers', type=int, default=2, help='processes that load (default 2)')
    parser.add_argument('--shard-mb', type=float, default=128, help='of a file (default 128)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dry-run', action='store_true', help='only say what it would take')
    parser.add_argument('--verify', action='store_true', help='read every byte and compare')
    parser.add_argument(
        '--repair', action='store_true', help='with --verify: take damaged shards out, then build'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    # What load_config reads besides.
    args.launcher, args.local_rank, args.work_dir = 'none', 0, None
    return args


def verify(path: str, repair: bool) -> int:
    """Prints what is wrong with a cache; returns how many shards are damaged."""
    found = cache_teacher.verify(path, repair)
    for number, problem in found.items():
        print(f'shard {number}: {problem}')
    damaged = sum(problem != 'not built' for problem in found.values())
    print(
        f'{path}: {damaged} shard(s) damaged, {len(found) - damaged} not built.'
        + (' The damaged ones were taken out.' if repair and damaged else '')
    )
    return damaged


def build(job: cache_teacher.Job, args: argparse.Namespace) -> None:
    """Builds one cache and says how it went."""
    settings = cache_teacher.settings_of(args.device, args.batch, args.workers, args.shard_mb)
    planned = cache_teacher.plan(job.sources, settings)
    if RANK == 0:
        for line in cache_teacher.describe(job, planned):
            print(line)
    if args.dry_run:
        return
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    begun, count = time.perf_counter(), 0
    with Progress(*columns, disable=RANK > 0 or not sys.stdout.isatty()) as progress:
        task = progress.add_task(job.name, total=planned.manifest.layout.records)

        def told(records: int) -> None:
            nonlocal count
            count += records
            progress.advance(task, records)

        shards = cache_teacher.build(job.sources, settings, planned, told)
    seconds = time.perf_counter() - begun
    rate = f', {count / seconds:.1f} records/s' if count else ''
    who = f' by process {RANK + 1} of {WORLD}' if WORLD > 1 else ''
    print(f'built     {shards} shard(s), {count} records in {seconds:.0f} s{rate}{who}')
    if RANK > 0:
        return
    for line in cache_teacher.report_lines(job.path):
        print(f'fidelity  {line}')


def main() -> None:
    args = parse_args()
    wrap = dict(mode=args.mode, variants=args.variants, storage=args.storage, path=args.path)
    wrap = {key: value for key, value in wrap.items() if value is not None}
    cfg = load_config(args)
    for job in cache_teacher.jobs(cfg, wrap or None):
        # One reader does; the others help with what it takes out.
        if args.verify and RANK == 0:
            damaged = verify(job.path, args.repair)
            if damaged and not args.repair:
                raise MMKDError(
                    f"The cache '{job.path}' is damaged; --verify --repair takes the damaged "
                    'shards out and builds them anew.'
                )
        if args.verify and not args.repair:
            continue
        build(job, args)


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
