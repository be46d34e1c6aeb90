"""Attributes of videos, from mmkd's own json, as far as scores need them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

from mmkd.errors import MMKDError, nearest

SCHEMA = 'mmkd-attributes-1'


def video_key(name: str) -> str:
    """How names are compared: 'Jogging-1', 'jogging_1' and 'jogging.1' are one video."""
    return re.sub(r'[-_.]', '-', name.lower())


@dataclass
class VideoAttributes:
    """Which video has which attributes.

    Args:
        videos: By name; one that differs in case or in '-', '_' and '.' only is found, too.
        groups: ``{group: attributes}``, if the file tells.
        source: Where that was read.
    """

    videos: Dict[str, Tuple[str, ...]]
    groups: Dict[str, Tuple[str, ...]] | None
    source: str
    _alike: Dict[str, List[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._alike = {}
        for name in self.videos:
            self._alike.setdefault(video_key(name), []).append(name)

    def of(self, video: str) -> Tuple[str, ...] | None:
        """Attributes of a video, or None if it is not listed.

        Raises:
            MMKDError: If several are spelled alike, and differ.
        """
        if video in self.videos:
            return self.videos[video]
        names = self._alike.get(video_key(video), [])
        if len({self.videos[name] for name in names}) > 1:
            raise MMKDError(
                f'{self.source}: {video!r} may be any of {", ".join(map(repr, names))}, which have '
                'different attributes.'
            )
        return self.videos[names[0]] if names else None

    def missing(self, videos: Iterable[str]) -> str:
        """Which of some videos are not listed, in words; empty if all are."""
        names = [name for name in videos if self.of(name) is None]
        if not names:
            return ''
        # A list of a thousand videos would help nobody, near misses do.
        hint = nearest(names[0], self.videos) if len(self.videos) < 5000 else ''
        hint = f' {hint}' if hint.startswith('Did') else ''
        listed = ', '.join(map(repr, names[:10])) + (', ...' if len(names) > 10 else '')
        return f'{self.source} has no attributes of {len(names)} videos: {listed}.{hint}'


def read_attributes(path: str | Path) -> VideoAttributes:
    """Reads ``{"schema": "mmkd-attributes-1", "videos": {"airplane-1": ["POC", ...]}}``.

    ``"groups": {"occlusion": ["POC", "FOC"]}`` may be there. Other formats become this one with
    ``load_attributes(path).save(json)`` of ``mmkd.datasets.attributes``.

    Raises:
        MMKDError: If there is none, or it is another kind of file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
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
    videos = _lists(content.get('videos'), 'videos', path)
    groups = _lists(content['groups'], 'groups', path) if content.get('groups') else None
    return VideoAttributes(videos, groups, str(path))


def groups_of(attributes: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Tuple[str, ...]:
    """Names of the groups that have one of some attributes.

    Args:
        attributes: Of a video.
        groups: ``{group: attributes}``.
    """
    return tuple(name for name, members in groups.items() if set(members) & set(attributes))


def _lists(content: Any, key: str, path: str | Path) -> Dict[str, Tuple[str, ...]]:
    if not isinstance(content, dict) or not content:
        raise MMKDError(f'{path} has no {key!r}.')
    for name, names in content.items():
        if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
            raise MMKDError(f'{path}: {name!r} in {key!r} has no list of attributes: {names!r}.')
    return {name: tuple(names) for name, names in content.items()}
