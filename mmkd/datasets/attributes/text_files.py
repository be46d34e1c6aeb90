"""Attributes as the benchmarks' toolkits give them: a file of 0 and 1 for each video.

The order of the values is written nowhere in such a file. It is in the toolkits' code:

- LaSOT: ``run_tracker_performance_evaluation.m`` of the evaluation toolkit (14 values).
- OTB: ``perfPlot.m`` of tracker_benchmark (11 values; separators vary).
- UAV123: used in this order by pytracking and others (12 values); two public scripts assume other
  orders, so whole sets are checked by their columns' sums.
- VL-SOT500: the data set's README (17 values, two of them with three levels).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from mmkd.errors import MMKDError

from .table import AttributeTable

LASOT = ('IV', 'POC', 'DEF', 'MB', 'CM', 'ROT', 'BC', 'VC', 'SV', 'FOC', 'FM', 'OV', 'LR', 'ARC')
OTB = ('IV', 'OPR', 'SV', 'OCC', 'DEF', 'MB', 'FM', 'IPR', 'OV', 'BC', 'LR')
UAV123 = ('SV', 'ARC', 'LR', 'FM', 'FOC', 'POC', 'OV', 'BC', 'IV', 'VC', 'CM', 'SOB')
# What each of VL-SOT500's 17 values means: names for 0, 1 (, 2); None where 0 is "no". The
# benchmark reports these 22 attributes; names of more than one word are ours.
VL_SOT500: Tuple[Tuple[str | None, ...], ...] = (
    *((None, name) for name in ('CM', 'VC', 'PO', 'FO', 'OV', 'ROT', 'DEF', 'SD', 'IV', 'MB')),
    ('NATURAL', 'ARTIFICIAL'),
    (None, 'PTI'),  # partial target information
    ('BRIGHTNESS_LOW', 'BRIGHTNESS_MEDIUM', 'BRIGHTNESS_HIGH'),
    *((None, name) for name in ('FM', 'SV', 'ARV')),
    ('LENGTH_SHORT', 'LENGTH_MEDIUM', 'LENGTH_LONG'),
)


class Sums(NamedTuple):
    """What the columns of a whole benchmark add up to.

    Attributes:
        counts: One sum for each column, in the benchmark's order.
        videos: Numbers of files (first, last) for which the sums are known.
        slack: How far a column may be off.
    """

    counts: Tuple[int, ...]
    videos: Tuple[int, int]
    slack: int = 0


class Layout(NamedTuple):
    """The meaning of one benchmark's values.

    Attributes:
        title: For messages.
        columns: Names of each value, as in :data:`VL_SOT500`.
        is_free: Separators other than commas are allowed.
        sums: Of the whole benchmark, or None if they are not known.
    """

    title: str
    columns: Tuple[Tuple[str | None, ...], ...]
    is_free: bool = False
    sums: Sums | None = None

    @property
    def names(self) -> Tuple[str, ...]:
        """All attributes, in the order of the values."""
        return tuple(name for column in self.columns for name in column if name is not None)


def _binary(names: Sequence[str]) -> Tuple[Tuple[str | None, ...], ...]:
    return tuple((None, name) for name in names)


# Sums: counted over LaSOT's 1,400 published files, and those of pytracking's json files. OTB's
# are of 104 names, three videos twice, while its toolkit has about 100: hence the slack.
LAYOUTS: Dict[str, Layout] = {
    'lasot': Layout(
        'LaSOT',
        _binary(LASOT),
        sums=Sums(
            (224, 913, 725, 449, 433, 812, 434, 153, 1321, 542, 296, 477, 661, 1201), (1400, 1400)
        ),
    ),
    'otb': Layout(
        'OTB',
        _binary(OTB),
        is_free=True,
        sums=Sums((40, 66, 68, 53, 48, 31, 44, 51, 14, 32, 10), (98, 104), slack=7),
    ),
    'uav123': Layout(
        'UAV123',
        _binary(UAV123),
        sums=Sums((109, 68, 48, 28, 33, 73, 30, 21, 31, 60, 70, 39), (123, 123)),
    ),
    'vl-sot500': Layout('VL-SOT500', VL_SOT500),
}


def parse_values(text: str, where: str, layout: Layout) -> Tuple[Tuple[int, ...], str]:
    """Reads the one line of a file.

    Args:
        text: Of the file.
        where: The file, for messages.
        layout: What its values mean.

    Returns:
        The values, and where they are (file and line).

    Raises:
        MMKDError: If there is not exactly one line, the number of values is wrong, or one of them
            is none of those that the layout knows.
    """
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise MMKDError(f"'{where}' is empty; {_expected(layout)}.")
    number, line = lines[0]
    place = f"'{where}', line {number}"
    if len(lines) > 1:
        raise MMKDError(
            f"'{where}', line {lines[1][0]}: a second line; {_expected(layout)}. The line is "
            f"'{lines[1][1][:60]}'."
        )
    if layout.is_free:
        parts = [part for part in re.split(r'[,;\s]+', line) if part]
    else:
        parts = [part.strip() for part in line.split(',')]
    if len(parts) != len(layout.columns):
        raise MMKDError(
            f'{place}: {len(parts)} values; {_expected(layout)}. The line is {line[:80]!r}.'
        )
    values = []
    for index, (part, column) in enumerate(zip(parts, layout.columns)):
        if part not in {str(value) for value in range(len(column))}:
            choices = ', '.join(str(value) for value in range(len(column)))
            raise MMKDError(
                f"{place}: value {index + 1} is '{part[:20]}'; {layout.title} has one of {choices} "
                f'there ({"/".join(name for name in column if name)}).'
            )
        values.append(int(part))
    return tuple(values), place


def read_files(files: Dict[str, Path], kind: str, source: str) -> AttributeTable:
    """Reads one file for each video.

    Args:
        files: Name of the video -> file.
        kind: A key of :data:`LAYOUTS`.
        source: The folder that they are of.

    Raises:
        MMKDError: If a file is not as it should be, or if this is a whole benchmark whose columns
            do not add up to what they should: then their order is another one.
    """
    layout = LAYOUTS[kind]
    rows: List[Tuple[int, ...]] = []
    videos = {}
    for video, path in files.items():
        try:
            text = path.read_text(encoding='utf-8-sig')
        except (OSError, UnicodeDecodeError) as error:
            raise MMKDError(f"'{path}' cannot be read: {error}") from error
        values, _ = parse_values(text, str(path), layout)
        rows.append(values)
        chosen = (column[value] for column, value in zip(layout.columns, values))
        videos[video] = tuple(name for name in chosen if name is not None)
    _check_sums(rows, layout, source)
    return AttributeTable(layout.names, videos, source=source)


def list_files(folder: Path) -> Dict[str, Path]:
    """Video -> file, of a folder ``<video>.txt``, ordered as '...-2' before '...-10'."""
    return {path.stem: path for path in sorted(folder.glob('*.txt'), key=_by_number)}


def list_vl_sot500(folder: Path) -> Dict[str, Path]:
    """Video -> its ``attributes.txt``, in the data set's own folders or one level above them."""
    found = [*folder.glob('*/attributes.txt'), *folder.glob('*/*/attributes.txt')]
    return {path.parent.name: path for path in sorted(found, key=_by_number)}


def count_values(path: Path) -> int:
    """How many values the first line of a file has; 0 if that is not to be told."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError):
        return 0
    line = next((line for line in text.splitlines() if line.strip()), '')
    parts = [part for part in re.split(r'[,;\s]+', line) if part]
    return len(parts) if all(part.isdigit() for part in parts) else 0


def _by_number(path: Path) -> list:
    pieces = re.split(r'(\d+)', str(path))
    return [int(piece) if piece.isdigit() else piece for piece in pieces]


def _expected(layout: Layout) -> str:
    order = ', '.join('/'.join(name for name in column if name) for column in layout.columns)
    return f'{layout.title} has one line of {len(layout.columns)} values ({order})'


def _check_sums(rows: List[Tuple[int, ...]], layout: Layout, source: str) -> None:
    sums = layout.sums
    if sums is None or not sums.videos[0] <= len(rows) <= sums.videos[1]:
        return
    found = [sum(column) for column in zip(*rows)]

    def agrees(a: int, b: int) -> bool:
        return abs(a - b) <= sums.slack

    for name, count, expected in zip(layout.names, found, sums.counts):
        if not agrees(count, expected):
            alike = [n for n, c in zip(layout.names, sums.counts) if agrees(count, c)]
            hint = f', as many as {" or ".join(alike)} should have' if alike else ''
            raise MMKDError(
                f"'{source}': {count} of {len(rows)} videos have {name}, where all of "
                f'{layout.title} has {expected}{hint}. The values are in another order than '
                f'{", ".join(layout.names)}, or a file was changed.'
            )
