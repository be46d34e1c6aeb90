"""Attributes as pytracking and PySOT keep them: one json for a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, List, Tuple

from mmkd.errors import MMKDError

from .table import AttributeTable, is_list_of_names

_LISTS = ('att_name_short', 'att_name_long')


def read_json(path: str):
    """Reads a json file.

    Raises:
        MMKDError: If it cannot be read; a line and column where it is not json.
    """
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise MMKDError(f"'{path}' cannot be read: {error}") from error
    # ValueError: neither text nor json; RecursionError: a thousand brackets.
    except (ValueError, RecursionError) as error:
        raise MMKDError(f"'{path}' is not a json file: {error}") from error


def is_pytracking(content) -> bool:
    """Whether this is one of pytracking's ``*_attributes.json``."""
    return isinstance(content, dict) and 'att_name_short' in content


def is_pysot(content) -> bool:
    """Whether this is one of PySOT's data set files, whose videos have an entry 'attr'."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(video, dict) and 'attr' in video for video in content.values())
    )


def of_pytracking(content, path: str) -> AttributeTable:
    """Reads ``{"att_name_short": [...], "att_name_long": [...], "<video>": ["POC", ...]}``.

    An empty string among a video's attributes is left out: OTB's file has one.

    Raises:
        MMKDError: If it is not that, or a video has an attribute that is not in the list.
    """
    if not is_pytracking(content) or not is_list_of_names(content['att_name_short']):
        raise MMKDError(
            f"'{path}' is not pytracking's: it has no list 'att_name_short' of attributes' names."
        )
    names, long_names = content['att_name_short'], content.get('att_name_long')
    if long_names is not None and (
        not is_list_of_names(long_names) or len(long_names) != len(names)
    ):
        raise MMKDError(
            f"'{path}': 'att_name_long' must have one name for each of the {len(names)} in "
            "'att_name_short'."
        )
    videos = {video: value for video, value in content.items() if video not in _LISTS}
    return AttributeTable(tuple(names), _lists(videos, path), source=str(path))


def of_pysot(content, path: str) -> AttributeTable:
    """Reads ``{"<video>": {"attr": ["POC", ...], ...}}``; all names that occur are the table's.

    Raises:
        MMKDError: If it is not that.
    """
    if not is_pysot(content):
        raise MMKDError(
            f"'{path}' is not PySOT's: it must be a dict of videos, each with a list 'attr'."
        )
    videos = _lists({video: value['attr'] for video, value in content.items()}, path)
    names = dict.fromkeys(name for attributes in videos.values() for name in attributes)
    return AttributeTable(tuple(sorted(names)), videos, source=str(path))


def _lists(videos: Dict[str, List[str]], path: str) -> Dict[str, Tuple[str, ...]]:
    for video, attributes in videos.items():
        if not is_list_of_names(attributes):
            raise MMKDError(
                f"'{path}': video '{video}' must have a list of attributes; it has "
                f"'{str(attributes)[:60]}'."
            )
    return {video: tuple(name for name in names if name) for video, names in videos.items()}
