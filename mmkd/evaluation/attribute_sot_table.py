"""Attributes of videos, from mmkd's own json, as far as scores need them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Mapping, Sequence, Tuple

from mmkd.errors import MMKDError, nearest

SCHEMA = 'mmkd-attributes-1'


def video_key(name: str) -> str:
    """How names are compared: 'Jogging-1', 'jogging_1' and 'jogging.1' are one video."""
    return re.sub(r'[-_.]', '-', name.lower())


@dataclass
class VideoAttributes:
    """``{video key: (name, attributes)}``, and where that was read."""

    videos: Dict[str, Tuple[str, Tuple[str, ...]]]
    source: str

    def of(self, video: str) -> Tuple[str, ...] | None:
        """Attributes of a video, or None if it is not listed."""
        entry = self.videos.get(video_key(video))
        return None if entry is None else entry[1]

    def missing(self, videos: Iterable[str]) -> str:
        """Which of some videos are not listed, in words; empty if all are."""
        names = [name for name in videos if self.of(name) is None]
        if not names:
            return ''
        known = nearest(names[0], [name for name, _ in self.videos.values()])
        # A list of a thousand videos helps nobody.
        hint = f' {known}' if known.startswith('Did') else ''
        listed = ', '.join(map(repr, names[:10])) + (', ...' if len(names) > 10 else '')
        return f'{self.source} has no attributes of {len(names)} videos: {listed}.{hint}'


def read_attributes(path: str | Path) -> VideoAttributes:
    """Reads ``{"schema": "mmkd-attributes-1", "videos": {"airplane-1": ["POC", ...]}}``.

    Other formats are turned into this one with ``mmkd.datasets.attributes``: its
    ``load_attributes(path).save(json)``.

    Raises:
        MMKDError: If there is none, or it is another kind of file.
    """
    try:
        content = json.loads(Path(path).read_text())
    except OSError as error:
        raise MMKDError(f'Cannot read the attributes {str(path)!r}: {error}.') from error
    except ValueError as error:
        raise MMKDError(f'{path} is not JSON: {error}.') from error
    schema = content.get('schema') if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise MMKDError(
            f'{path} has the schema {schema!r}, expected {SCHEMA!r}. Other formats are converted '
            'with mmkd.datasets.attributes.load_attributes(path).save(json).'
        )
    videos: Dict[str, Tuple[str, Tuple[str, ...]]] = {}
    entries = content.get('videos')
    if not isinstance(entries, dict) or not entries:
        raise MMKDError(f"{path} has no 'videos'.")
    for name, attributes in entries.items():
        if not isinstance(attributes, list) or not all(isinstance(a, str) for a in attributes):
            raise MMKDError(f'{path}: attributes of {name!r} are no list of names: {attributes!r}.')
        key = video_key(name)
        if key in videos:
            raise MMKDError(f'{path} lists {videos[key][0]!r} and {name!r}, which are one name.')
        videos[key] = (name, tuple(attributes))
    return VideoAttributes(videos, str(path))


def groups_of(
    attributes: Sequence[str], groups: Mapping[str, Sequence[str]] | None
) -> Tuple[str, ...]:
    """Names of the groups that have one of some attributes.

    Args:
        attributes: Of a video.
        groups: ``{group: attributes}``; None for none.
    """
    return tuple(name for name, members in (groups or {}).items() if set(members) & set(attributes))
