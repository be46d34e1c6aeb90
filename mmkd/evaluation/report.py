"""Tables of scores: as text, JSON and CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Dict, List

from mmkd.errors import MMKDError

Table = Dict[str, Dict[str, float]]


def format_table(table: Table, corner: str = 'sequence') -> str:
    """Aligned text with a header; floats with two decimals.

    Args:
        table: ``{row name: {column: value}}``, the same columns in every row.
        corner: What the row names are.
    """
    columns = list(next(iter(table.values())))
    lines: List[List[str]] = [[corner, *columns]]
    for name, row in table.items():
        lines.append([name, *(_cell(row[column]) for column in columns)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = [
        '  '.join([line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:])])
        for line in lines
    ]
    text.insert(1, '-' * len(text[0]))
    return '\n'.join(text)


def write_report(prefix: str, tables: Dict[str, Table]) -> List[Path]:
    """Writes all tables to a JSON and a CSV file that did not exist before.

    Args:
        prefix: Path without suffix; folders are made.
        tables: ``{class or 'overall': table}``.

    Returns:
        The two paths.

    Raises:
        MMKDError: If they cannot be written.
    """
    base = Path(prefix)
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        json_path, csv_path = unused_paths(base, ('.json', '.csv'))
        with json_path.open('x') as file:
            json.dump(tables, file, indent=2)
            file.write('\n')
        with csv_path.open('x', newline='') as file:
            writer = csv.writer(file)
            columns = list(next(iter(next(iter(tables.values())).values())))
            writer.writerow(['class', 'sequence', *columns])
            for name, table in tables.items():
                for sequence, row in table.items():
                    writer.writerow([name, sequence, *(row[column] for column in columns)])
    except OSError as error:
        raise MMKDError(f'Cannot write the scores to {prefix!r}: {error}.') from error
    return [json_path, csv_path]


def unused_paths(base: Path, suffixes: tuple) -> List[Path]:
    """The first numbered name none of whose files exists."""
    number = 0
    while True:
        stem = base.name if number == 0 else f'{base.name}-{number}'
        paths = [base.with_name(stem + suffix) for suffix in suffixes]
        if not any(path.exists() for path in paths):
            return paths
        number += 1


def _cell(value: float) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)
