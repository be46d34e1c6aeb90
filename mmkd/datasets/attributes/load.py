"""From whatever a toolkit ships to an AttributeTable."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

from mmkd.errors import MMKDError, nearest

from .json_files import is_pysot, is_pytracking, of_pysot, of_pytracking, read_json
from .table import SCHEMA, AttributeTable, is_own, of_own
from .text_files import LAYOUTS, count_values, list_files, list_vl_sot500, read_files

JSON_KINDS = ('mmkd', 'pytracking', 'pysot')
KINDS = (*JSON_KINDS, *LAYOUTS)
# Where toolkits keep the files of attributes, from the folder that a user would name.
_PLACES = ('', 'att', 'annos/att', 'anno/att', 'UAV123/att', 'anno/UAV123/att')
_BY_COUNT = {len(layout.columns): kind for kind, layout in LAYOUTS.items()}


def load_attributes(path: str, kind: str | None = None) -> AttributeTable:
    """Reads which video has which attributes.

    Args:
        path: A json of mmkd, pytracking or PySOT; or a folder of ``<video>.txt`` as LaSOT's, OTB's
            and UAV123's toolkits have it (that folder itself, or the toolkit's, whose ``att``
            folder is then found); or VL-SOT500's folder with an ``attributes.txt`` in each video's.
        kind: 'mmkd', 'lasot', 'otb', 'uav123', 'pytracking', 'pysot', 'vl-sot500'. Default: what
            the content looks like. LaSOT, OTB and UAV123 differ by the number of values.

    Raises:
        MMKDError: If there is no such path, if it is none of these, or if a file of it is wrong:
            names the file and the line.
    """
    if kind is not None and kind not in KINDS:
        raise MMKDError(f"There is no kind of attributes '{kind}'. {nearest(kind, KINDS)}")
    target = Path(path)
    if target.is_file():
        return _load_json(target, kind)
    if not target.is_dir():
        raise MMKDError(
            f"'{path}' does not exist. Attributes are a json file (mmkd, pytracking, PySOT), a "
            'folder of <video>.txt (LaSOT, OTB, UAV123), or the folder of VL-SOT500.'
        )
    if kind in JSON_KINDS:
        raise MMKDError(f"'{path}' is a folder; attributes of kind '{kind}' are one json file.")
    return _load_folder(target, kind)


def load_under(
    attributes: str | AttributeTable | dict, data_root: str | None, kind: str | None = None
) -> AttributeTable:
    """Reads what a data set's ``attributes=`` names.

    Args:
        attributes: A path from ``data_root`` on, as ``ann_file`` is; or from the working folder,
            if there is nothing of that name under ``data_root``; or a table itself; or, in a
            config, video to names: ``{'MOT17-05': ['CM'], 'MOT17-09': []}``.
        data_root: Of the data set.
        kind: As :func:`load_attributes`.

    Raises:
        MMKDError: As :func:`load_attributes`.
    """
    if isinstance(attributes, AttributeTable):
        return attributes
    if isinstance(attributes, dict):
        videos = {video: tuple(names) for video, names in attributes.items()}
        names = dict.fromkeys(name for found in videos.values() for name in found)
        return AttributeTable(tuple(names), videos, 'the config')
    path = Path(data_root or '', attributes)
    if not path.exists() and Path(attributes).exists():
        path = Path(attributes)
    return load_attributes(str(path), kind)


def describe(table: AttributeTable, *names: str) -> dict:
    """``attributes`` and ``attribute_groups`` of a video.

    Args:
        table: Of the data set.
        names: Of the video, the most exact first; the first that the table has counts.

    Raises:
        MMKDError: If it has none of them.
    """
    name = next((name for name in names if name in table), names[0])
    return {'attributes': table.of(name), 'attribute_groups': table.groups_of(name)}


def _load_json(path: Path, kind: str | None) -> AttributeTable:
    if kind in LAYOUTS:
        raise MMKDError(
            f"'{path}' is a file; attributes of kind '{kind}' are a folder with a file of each "
            'video.'
        )
    content = read_json(path)
    if kind is None:
        if is_own(content):
            kind = 'mmkd'
        elif is_pytracking(content):
            kind = 'pytracking'
        elif is_pysot(content):
            kind = 'pysot'
        else:
            raise MMKDError(
                f'\'{path}\' holds no attributes that are known: neither our own ("schema": '
                f'"{SCHEMA}") nor pytracking\'s ("att_name_short") nor PySOT\'s ("attr" in each '
                'video).'
            )
    if kind == 'mmkd':
        if not is_own(content):
            raise MMKDError(f'\'{path}\' has no "schema": "{SCHEMA}", so it is not mmkd\'s.')
        return of_own(content, str(path))
    return (of_pytracking if kind == 'pytracking' else of_pysot)(content, str(path))


def _load_folder(folder: Path, kind: str | None) -> AttributeTable:
    if kind != 'vl-sot500':
        for place in _PLACES:
            files = list_files(folder / place)
            guess = kind or _guess(files)
            # The toolkits' other folders hold text files too: boxes, lists of videos.
            if files and guess and (not place or count_values(next(iter(files.values())))):
                return read_files(files, guess, str(folder / place))
    if kind in (None, 'vl-sot500'):
        files = list_vl_sot500(folder)
        if files:
            return read_files(files, 'vl-sot500', str(folder))
    counts = ', '.join(f'{count} ({LAYOUTS[name].title})' for count, name in _BY_COUNT.items())
    raise MMKDError(
        f"'{folder}' has no attributes{f' of kind {kind!r}' if kind else ''}: looked for "
        '<video>.txt in it and in '
        f'{", ".join(repr(place) for place in _PLACES if place)}, and for '
        f'*/attributes.txt. A file has one line of this many values: {counts}.'
    )


def _guess(files: Dict[str, Path]) -> str | None:
    """The kind that most of the first files look like; the odd one is an error told later."""
    votes = [_BY_COUNT.get(count_values(path)) for path in list(files.values())[:15]]
    known = [vote for vote in votes if vote and vote != 'vl-sot500']
    return max(set(known), key=known.count) if known else None
