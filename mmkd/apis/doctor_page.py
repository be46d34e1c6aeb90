"""The doctor's page: sections of facts, tables and problems, as text and as json."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, Union

WIDTH = 100
_BOLD, _RED, _YELLOW, _GREEN, _PLAIN = '\x1b[1m', '\x1b[31m', '\x1b[33m', '\x1b[32m', '\x1b[0m'


class Problem(NamedTuple):
    """Something that is wrong.

    Attributes:
        text: What, where, and what was expected.
        remedy: What to do about it.
        stops: Whether it stops training, or makes it pointless; the others are warnings.
    """

    text: str
    remedy: str = ''
    stops: bool = True


class Fact(NamedTuple):
    """A line with a label."""

    label: str
    value: str


class Table(NamedTuple):
    """Rows below a head."""

    head: Tuple[str, ...]
    rows: Tuple[Tuple[str, ...], ...]


@dataclass
class Section:
    """One part of the page.

    Attributes:
        title: What it is about.
        blocks: Facts, tables and paragraphs, in order.
        problems: What is wrong in it.
        data: The same for programs.
    """

    title: str
    blocks: List[Union[Fact, Table, str]] = field(default_factory=list)
    problems: List[Problem] = field(default_factory=list)
    data: Dict[str, Any] = field(default_factory=dict)

    def fact(self, label: str, value: object) -> None:
        """Adds a line with a label."""
        self.blocks.append(Fact(label, str(value)))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Adds a table, if it has rows."""
        if rows:
            cells = tuple(tuple(str(cell) for cell in row) for row in rows)
            self.blocks.append(Table(tuple(head), cells))

    def note(self, text: str) -> None:
        """Adds a paragraph."""
        self.blocks.append(text)

    def stop(self, text: str, remedy: str = '') -> None:
        """Adds a problem that stops training."""
        self.problems.append(Problem(text, remedy, stops=True))

    def warn(self, text: str, remedy: str = '') -> None:
        """Adds a problem that training survives."""
        self.problems.append(Problem(text, remedy, stops=False))


def render(title: str, sections: Sequence[Section], colour: bool = False) -> str:
    """The page as text, at most :data:`WIDTH` columns wide unless a table needs more.

    Args:
        title: Its first line.
        sections: In order.
        colour: Whether it goes to a terminal; a log file gets plain text.
    """
    paint = _paint if colour else _leave
    lines = [paint(title, _BOLD), '=' * min(len(title), WIDTH)]
    number = 0
    found: List[str] = []
    for section in sections:
        lines += ['', paint(section.title, _BOLD), '-' * len(section.title)]
        lines += _body(section)
        for problem in section.problems:
            number += 1
            kind = 'PROBLEM' if problem.stops else 'WARNING'
            shade = _RED if problem.stops else _YELLOW
            lines.append(paint(f'  {kind} {number}, see below', shade))
            found += _problem(number, kind, section.title, problem, paint, shade)
    problems = [problem for section in sections for problem in section.problems]
    if found:
        lines += ['', paint('What to do', _BOLD), '-' * len('What to do'), *found]
    lines += ['', paint(verdict(problems), _verdict_shade(problems))]
    return '\n'.join(lines) + '\n'


def verdict(problems: Sequence[Problem]) -> str:
    """The page's last line."""
    stopping = sum(problem.stops for problem in problems)
    warnings = len(problems) - stopping
    told = f' ({count_of(warnings, "warning")})' if warnings else ''
    if stopping:
        stops = 'stops' if stopping == 1 else 'stop'
        return f'Verdict: {count_of(stopping, "problem")} {stops} this training{told}.'
    return f'Verdict: nothing that was looked at stops this training{told}.'


def as_json(config: str, sections: Sequence[Section]) -> Dict[str, Any]:
    """The page for programs: ``config``, ``ok``, ``problems`` and each section's data."""
    problems = [
        dict(section=section.title, **problem._asdict())
        for section in sections
        for problem in section.problems
    ]
    return {
        'config': config,
        'ok': not any(problem['stops'] for problem in problems),
        'problems': problems,
        'sections': {section.title: section.data for section in sections},
    }


def size_of(count: float) -> str:
    """Bytes for people: ``'1.25 GiB'``."""
    for unit in ('B', 'KiB', 'MiB'):
        if count < 1024:
            return f'{count:.0f} {unit}' if unit == 'B' else f'{count:.3g} {unit}'
        count /= 1024
    return f'{count:.3g} GiB' if count < 1000 else f'{count:,.0f} GiB'


def duration(seconds: float) -> str:
    """Seconds for people: ``'2 h 05 min'``."""
    if seconds < 1:
        return f'{1000 * seconds:.3g} ms'
    if seconds < 100:
        return f'{seconds:.3g} s'
    minutes = round(seconds / 60)
    if minutes < 60:
        return f'{minutes} min'
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f'{hours} h {minutes:02d} min'
    return f'{hours // 24} d {hours % 24} h'


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first few of many names."""
    told = ', '.join(str(name) for name in names[:limit])
    return told if len(names) <= limit else f'{told} and {len(names) - limit} more'


def count_of(number: int, noun: str) -> str:
    """``'1 box'``, ``'2 boxes'``."""
    plural = 'es' if noun.endswith(('x', 'ch')) else 's'
    return f'{number:,} {noun}' + ('' if number == 1 else plural)


def _body(section: Section) -> List[str]:
    width = max((len(b.label) for b in section.blocks if isinstance(b, Fact)), default=0)
    lines: List[str] = []
    for block in section.blocks:
        if isinstance(block, Fact):
            lines += _wrap(block.value, f'  {block.label:<{width}}  ', ' ' * (width + 4))
        elif isinstance(block, Table):
            lines += _table(block)
        else:
            lines += _wrap(block, '  ', '  ')
    return lines


def _table(table: Table) -> List[str]:
    columns = list(zip(table.head, *table.rows))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    lines = []
    for row in (table.head, *table.rows):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric)
        ]
        lines.append('  ' + '  '.join(cells).rstrip())
    return lines


def _is_number(cell: str) -> bool:
    return bool(cell) and (cell == '-' or cell[0].isdigit())


def _problem(number: int, kind: str, where: str, problem: Problem, paint, shade: str) -> List[str]:
    head = f'{number}. {kind} ({where})'
    lines = [paint(f'  {head}', shade)]
    lines += _wrap(problem.text, '     ', '     ')
    if problem.remedy:
        lines += _wrap('-> ' + problem.remedy, '     ', '        ')
    return lines


def _wrap(text: str, first: str, following: str) -> List[str]:
    lines: List[str] = []
    for part in text.splitlines() or ['']:
        lines += textwrap.wrap(
            part,
            WIDTH,
            initial_indent=following if lines else first,
            subsequent_indent=following,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [first.rstrip()]
    return lines


def _verdict_shade(problems: Sequence[Problem]) -> str:
    if any(problem.stops for problem in problems):
        return _RED
    return _YELLOW if problems else _GREEN


def _paint(text: str, shade: str) -> str:
    return f'{shade}{text}{_PLAIN}'


def _leave(text: str, shade: str) -> str:
    return text
