"""Trainings that build on each other: teachers, then students, then how they compare."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config, DictAction

from mmkd.errors import MMKDError, nearest

_RUN_KEYS = ('name', 'config', 'options', 'train_args', 'test_args', 'seeds', 'checkpoint', 'test')
_TABLE_KEYS = ('runs', 'work_dir', 'compare')
_NEEDS = re.compile(r'\{([\w-]+)\}')
# What a run leaves in its folder when a part of it is over.
BEGUN, TRAINED, TESTED = 'begun.json', 'trained.json', 'tested.json'
RESULTS = 'results'


class Run(NamedTuple):
    """One training and its test."""

    name: str
    config: str
    folder: Path
    options: Dict[str, Any]
    train_args: Tuple[str, ...]
    test_args: Tuple[str, ...]
    seed: Optional[int]
    checkpoint: Optional[str]
    """A checkpoint that exists already: nothing is trained."""
    test: bool
    needs: Tuple[str, ...]
    """Names of the runs whose checkpoints it starts from or learns from."""

    @property
    def title(self) -> str:
        """Its name, with the seed if there are several."""
        return self.folder.name


class Chain(NamedTuple):
    """A table of runs."""

    path: str
    runs: List[Run]
    work_dir: Path
    compare: Optional[dict]


def read_chain(path: str) -> Chain:
    """Reads a table.

    Args:
        path: A config file with ``runs``, a list of dicts in the order in which they run:

            - ``name``: of the run, and of its folder.
            - ``config``: relative to the table, or to the working directory.
            - ``options``: what replaces settings of the config, with dotted keys; in its strings
              ``{general}`` is the checkpoint of the run of that name, which must come before.
            - ``seeds``: one run for each, in folders ``<name>_seed<k>``; none: as the config says.
              Others build on the first one.
            - ``train_args``, ``test_args``: more arguments of train.py and test.py.
            - ``checkpoint``: of a model that is trained already; it is tested only.
            - ``test``: False leaves the test out.

            And ``work_dir``, and ``compare=dict(arms={label: name}, ...)`` with the options of
            compare_trackers.py.

    Raises:
        MMKDError: Something in the table is not there, or comes too late.
    """
    file = Path(path)
    if not file.is_file():
        raise MMKDError(f'There is no table of runs {path!r}.')
    table = Config.fromfile(file).to_dict()
    for key in table:
        if key not in _TABLE_KEYS and not key.startswith('_'):
            raise MMKDError(f'{path}: a table has no {key!r}. {nearest(key, _TABLE_KEYS)}')
    if not table.get('runs'):
        raise MMKDError(f'{path}: runs is a list of dict(name=..., config=...), and not empty.')
    work_dir = Path(table.get('work_dir') or Path('work_dirs') / file.stem)
    runs: List[Run] = []
    for entry in table['runs']:
        runs.extend(_parse(entry, file, work_dir, [run.name for run in runs]))
    compare = table.get('compare')
    if compare and not compare.get('arms'):
        raise MMKDError(
            f'{path}: compare takes arms={{label: name of a run}}, but got {compare!r}.'
        )
    names = list(dict.fromkeys(run.name for run in runs))
    for label, name in dict((compare or {}).get('arms', {})).items():
        if name not in names:
            raise MMKDError(f'{path}: compare: {label!r} is no run. {nearest(str(name), names)}')
    return Chain(str(path), runs, work_dir, compare)


def _parse(entry: Any, file: Path, work_dir: Path, before: Sequence[str]) -> List[Run]:
    if not isinstance(entry, dict) or not isinstance(entry.get('name'), str):
        raise MMKDError(f'{file}: a run is dict(name=..., config=...), but got {entry!r}.')
    name = entry['name']
    if not re.fullmatch(r'[\w-]+', name) or name in before:
        raise MMKDError(
            f'{file}: a run is named by letters, digits, _ and -, each by another name, but got '
            f'{name!r}.'
        )
    for key in entry:
        if key not in _RUN_KEYS:
            raise MMKDError(f'{file}: the run {name!r} has no {key!r}. {nearest(key, _RUN_KEYS)}')
    options = dict(entry.get('options') or {})
    needs = sorted({need for value in options.values() for need in _NEEDS.findall(str(value))})
    for need in needs:
        if need not in before:
            raise MMKDError(
                f'{file}: the run {name!r} needs the checkpoint of {need!r}, which is no run '
                f'before it. {nearest(need, before)}'
            )
    seeds = entry.get('seeds')
    folders = [(None, name)] if seeds is None else [(int(s), f'{name}_seed{s}') for s in seeds]
    return [
        Run(
            name=name,
            config=_config(entry.get('config'), file, name),
            folder=work_dir / folder,
            options=options,
            train_args=tuple(map(str, entry.get('train_args', ()))),
            test_args=tuple(map(str, entry.get('test_args', ()))),
            seed=seed,
            checkpoint=entry.get('checkpoint'),
            test=bool(entry.get('test', True)),
            needs=tuple(needs),
        )
        for seed, folder in folders
    ]


def _config(given: Any, file: Path, name: str) -> str:
    for place in (file.parent / str(given), Path(str(given))):
        if given and place.is_file():
            return str(place)
    near = nearest(str(given), (each.name for each in file.parent.glob('*.py')))
    raise MMKDError(f'{file}: the run {name!r} has no config {given!r}. {near}')


def options_of(run: Run, checkpoints: Dict[str, str]) -> Dict[str, Any]:
    """The run's settings, with the checkpoints of others put in.

    Args:
        run: The run.
        checkpoints: Name of a run to its checkpoint.
    """

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return _NEEDS.sub(lambda match: checkpoints[match[1]], value)
        if isinstance(value, (list, tuple)):
            return type(value)(fill(each) for each in value)
        return value

    filled = {key: fill(value) for key, value in run.options.items()}
    if run.seed is not None:
        filled['randomness.seed'] = run.seed
    return filled


def as_arguments(options: Dict[str, Any]) -> List[str]:
    """``--cfg-options`` of settings.

    Raises:
        MMKDError: A value would arrive as another one.
    """
    if not options:
        return []
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    arguments = ['--cfg-options']
    for key, value in options.items():
        arguments.append(f'{key}={_text(value)}')
        try:
            found = parser.parse_args([arguments[0], arguments[-1]]).cfg_options[key]
        except AssertionError:
            # Brackets of a string that do not match.
            found = None
        if found != value or type(found) is not type(value):
            raise MMKDError(
                f'The option {key!r} is {value!r}, which a command line cannot hand on'
                + (
                    '. Give its entries as keys with dots.'
                    if isinstance(value, dict)
                    else f': it would arrive as {found!r}. Write it into a config instead.'
                )
            )
    return arguments


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        left, right = '[]' if isinstance(value, list) else '()'
        return left + ','.join(_text(each) for each in value) + right
    return str(value)


def checkpoint_of(run: Run) -> Optional[str]:
    """The run's final checkpoint, None if it has not been trained to its end.

    Raises:
        MMKDError: It was, and the file is gone.
    """
    path = run.checkpoint
    record = run.folder / TRAINED
    if path is None and record.is_file():
        path = json.loads(record.read_text())['checkpoint']
    if path is not None and '://' not in path and not Path(path).is_file():
        where = f'{record} names it' if run.checkpoint is None else 'the table names it'
        raise MMKDError(f'There is no checkpoint {path!r} of the run {run.title!r}; {where}.')
    return path


def last_checkpoint(folder: Path) -> Optional[str]:
    """What mmengine saved last in a folder."""
    pointer = folder / 'last_checkpoint'
    return pointer.read_text().strip() if pointer.is_file() else None


def check_same(record: Path, what: Dict[str, Any], run: Run) -> None:
    """Sees that what is recorded as done was done by today's table.

    Raises:
        MMKDError: It was another command.
    """
    done = json.loads(record.read_text())
    # As a file has it: without tuples.
    for key, value in json.loads(json.dumps(what)).items():
        same = done.get(key) == value
        if key == 'config' and not same:
            # The table may have been named by another path.
            same = Path(str(done.get(key))).resolve() == Path(str(value)).resolve()
        if not same:
            raise MMKDError(
                f'{run.folder} holds the run {run.title!r} of another table: {key} was '
                f'{done.get(key)!r} and is {value!r}. Move that folder away to run it anew, or '
                'restore the table.'
            )
