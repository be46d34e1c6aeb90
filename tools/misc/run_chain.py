"""Runs a table of trainings that build on each other, and goes on where it stopped.

    tools/sdst.sh configs/kd/sdst/synthetic/sdst_synthetic_chain.py 1

For each run of the table: train (resumed if a checkpoint is there), then test; at the end the
comparison that the table asks for. What is done is not done again. A run is done when its folder
has trained.json and tested.json; nothing in a folder is ever deleted or overwritten by this tool.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

from mmkd.apis.chain import (
    BEGUN,
    RESULTS,
    TESTED,
    TRAINED,
    Chain,
    Run,
    as_arguments,
    check_same,
    checkpoint_of,
    last_checkpoint,
    options_of,
    read_chain,
)
from mmkd.errors import MMKDError, nearest

TOOLS = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('table', help='a .py file with runs=[...]; see configs/kd/sdst/README.md')
    parser.add_argument('gpus', type=int, help='processes of each run; 1 also without a GPU')
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='RUN',
        help='these runs only, by name or by name and seed (student_seed1); what they build on '
        'must be there',
    )
    parser.add_argument('--list', action='store_true', help='print what is done and what is not')
    parser.add_argument(
        '--no-test', action='store_true', help='train only; a later call without it tests'
    )
    parser.add_argument('--no-compare', action='store_true', help='leave the comparison out')
    return parser.parse_args()


def call(command: List[str], log: Path, what: str) -> None:
    """Runs a command, its output in a file as well as here."""
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f'+ {shlex.join(command)}', flush=True)
    with log.open('a') as file, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace'
    ) as process:
        try:
            for line in process.stdout:
                file.write(line)
                print(line, end='', flush=True)
        except BaseException:
            # Or it would go on without us, in a folder in which the next call resumes.
            process.terminate()
            raise
    if process.returncode:
        raise MMKDError(
            f'{what} ended with exit status {process.returncode}; its output is in {log}. The same '
            'command goes on from there.'
        )


def stop_with_children() -> None:
    """Makes SIGTERM an exception, as Ctrl-C is one, so that :func:`call` can end what it runs."""

    def stop(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def tool(name: str, gpus: int) -> List[str]:
    """The beginning of a command of train.py or test.py."""
    return (
        [sys.executable, str(TOOLS / f'{name}.py')]
        if gpus == 1
        else [str(TOOLS / f'dist_{name}.sh')]
    )


def train(run: Run, options: Dict, gpus: int) -> str:
    """Trains, and returns the checkpoint."""
    done = checkpoint_of(run)
    what = {'config': run.config, 'options': options, 'args': list(run.train_args)}
    record = run.folder / TRAINED
    if done is not None:
        if record.is_file():
            check_same(record, what, run)
        return done
    command = [*tool('train', gpus), run.config, *([str(gpus)] if gpus > 1 else [])]
    command += ['--work-dir', str(run.folder), *run.train_args]
    begun = run.folder / BEGUN
    if last_checkpoint(run.folder) is not None:
        command.append('--resume')
        if begun.is_file():
            check_same(begun, what, run)
    run.folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(json.dumps(what, indent=1))
    call([*command, *as_arguments(options)], run.folder / 'train.txt', f'Training {run.title!r}')
    checkpoint = last_checkpoint(run.folder)
    if checkpoint is None:
        raise MMKDError(
            f'Training {run.title!r} has ended without a checkpoint in {run.folder}. Does its '
            'config have a CheckpointHook?'
        )
    record.write_text(json.dumps({**what, 'checkpoint': checkpoint}, indent=1))
    return checkpoint


def test(run: Run, options: Dict, checkpoint: str, gpus: int) -> None:
    """Tests, unless that is done."""
    record = run.folder / TESTED
    what = {'checkpoint': checkpoint, 'args': list(run.test_args)}
    if record.is_file():
        check_same(record, what, run)
        return
    command = [*tool('test', gpus), run.config, checkpoint, *([str(gpus)] if gpus > 1 else [])]
    command += ['--work-dir', str(run.folder / 'test'), '--scores', str(run.folder / RESULTS)]
    command += run.test_args
    call([*command, *as_arguments(options)], run.folder / 'test.txt', f'Testing {run.title!r}')
    record.write_text(json.dumps(what, indent=1))


def compare(chain: Chain, gpus: int) -> None:
    """Compares the arms that the table names, if all are tested."""
    settings = dict(chain.compare)
    arms = settings.pop('arms')
    lacking = [
        run.title
        for run in chain.runs
        if run.name in arms.values() and not (run.folder / TESTED).is_file()
    ]
    if lacking:
        print(f'Not compared yet: {", ".join(lacking)} not tested.')
        return
    command = [sys.executable, str(TOOLS / 'analysis_tools' / 'compare_trackers.py')]
    for label, name in arms.items():
        for run in chain.runs:
            if run.name == name:
                command.append(f'{label}={run.folder / RESULTS}.json')
    for one, other in settings.pop('differences', ()):
        command += ['--difference', one, other]
    if settings.pop('costs', False):
        command.append('--configs')
        configs = {run.name: run.config for run in chain.runs}
        command += [f'{label}={configs[name]}' for label, name in arms.items()]
    command += ['--out', str(chain.work_dir / 'comparison'), '--force']
    command += [part for key, value in settings.items() for part in (f'--{key}', str(value))]
    call(command, chain.work_dir / 'compare.txt', 'The comparison')


def state(run: Run) -> str:
    """What is done of a run, in words."""
    if checkpoint_of(run) is None:
        begun = last_checkpoint(run.folder)
        return 'not trained' if begun is None else f'begun, at {Path(begun).name}'
    if not run.test:
        return 'trained'
    return 'trained and tested' if (run.folder / TESTED).is_file() else 'trained, not tested'


def main() -> None:
    args = parse_args()
    chain = read_chain(args.table)
    if args.gpus < 1:
        raise MMKDError(f'The number of GPUs is a positive number, not {args.gpus}.')
    names = {name for run in chain.runs for name in (run.name, run.title)}
    for name in args.only or ():
        if name not in names:
            raise MMKDError(f'{args.table} has no run {name!r}. {nearest(name, names)}')
    if args.list:
        for run in chain.runs:
            print(f'{run.title:<32} {state(run)}')
        return
    checkpoints: Dict[str, str] = {}
    # Of several seeds, others build on the first.
    first = {run.name: run.title for run in reversed(chain.runs)}
    for run in chain.runs:
        wanted = not args.only or {run.name, run.title} & set(args.only)
        if not wanted:
            found = checkpoint_of(run)
            if found is not None and first[run.name] == run.title:
                checkpoints[run.name] = found
            continue
        for need in run.needs:
            if need not in checkpoints:
                raise MMKDError(f'{run.title!r} builds on {need!r}, which is not trained yet.')
        options = options_of(run, checkpoints)
        checkpoint = train(run, options, args.gpus)
        if first[run.name] == run.title:
            checkpoints[run.name] = checkpoint
        if run.test and not args.no_test:
            test(run, options, checkpoint, args.gpus)
    if chain.compare and not args.no_compare and not args.no_test:
        compare(chain, args.gpus)


if __name__ == '__main__':
    stop_with_children()
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
