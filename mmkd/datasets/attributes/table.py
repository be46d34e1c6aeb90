"""Which video has which attributes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

from mmkd.errors import MMKDError, nearest

from .groups import check_groups, group_of, groups_of

SCHEMA = 'mmkd-attributes-1'


def canonical(video: str) -> str:
    """The spelling under which videos are compared: 'Jogging.1' and 'jogging_1' are 'jogging-1'."""
    return str(video).lower().replace('_', '-').replace('.', '-')


@dataclass(frozen=True)
class AttributeTable:
    """Attributes of videos, by a data set's own short names.

    A video is found under its exact name, else under one that differs only in case or in '-', '_'
    and '.': the toolkits of OTB and others do not agree on these.

    Args:
        names: All attributes that the data set knows, in its order.
        videos: Name of the video -> its attributes (a subset of ``names``).
        source: The file or folder that this came from, for messages.

    Raises:
        MMKDError: If a name occurs twice, or a video has an attribute that is not in ``names``.
    """

    names: Tuple[str, ...]
    videos: Dict[str, Tuple[str, ...]]
    source: str = ''
    _alike: Dict[str, List[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = tuple(self.names)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise MMKDError(f"{self.source}: the attribute '{twice[0]}' is there twice.")
        order = {name: index for index, name in enumerate(names)}
        videos, alike = {}, {}
        for video, attributes in self.videos.items():
            for name in attributes:
                if name not in order:
                    raise MMKDError(
                        f"{self.source}: video '{video}' has an attribute '{name}' that the table "
                        f'does not know. {nearest(name, names)}'
                    )
            videos[video] = tuple(sorted(set(attributes), key=order.__getitem__))
            alike.setdefault(canonical(video), []).append(video)
        # frozen: the tables of two runs are compared and must not drift apart in between
        for key, value in (('names', names), ('videos', videos), ('_alike', alike)):
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.videos)

    def __contains__(self, video: str) -> bool:
        return video in self.videos or canonical(video) in self._alike

    def of(self, video: str) -> Tuple[str, ...]:
        """Attributes of a video, in the order of ``names``; empty if it has none.

        Raises:
            MMKDError: If the table does not have the video, or has several that are spelled alike
                and differ in their attributes.
        """
        if video in self.videos:
            return self.videos[video]
        found = self._alike.get(canonical(video), ())
        if not found:
            raise MMKDError(
                f"'{self.source}' has no attributes of the video '{video}'. "
                f'{nearest(video, self.videos) if len(self.videos) < 5000 else ""}'
            )
        if len({self.videos[name] for name in found}) > 1:
            raise MMKDError(
                f"'{self.source}': '{video}' may be any of {', '.join(map(repr, found))}, which "
                'have different attributes. Use the exact name.'
            )
        return self.videos[found[0]]

    def groups_of(self, video: str) -> Tuple[str, ...]:
        """Common groups (mmkd.datasets.attributes.groups) of a video's attributes."""
        return groups_of(self.of(video))

    def check_names(self, names: Iterable[str], where: str) -> Tuple[str, ...]:
        """Refuses what is no attribute of this table.

        Args:
            names: To check; one string is one name. Any case; the table's spelling is returned.
            where: The option that holds them, for the message.

        Raises:
            MMKDError: With the nearest attribute.
        """
        names = (names,) if isinstance(names, str) else tuple(names)
        spelled = {name.lower(): name for name in self.names}
        for name in names:
            if name.lower() not in spelled:
                raise MMKDError(
                    f"{where}: '{self.source}' has no attribute '{name}'. "
                    f'{nearest(name, self.names)}'
                )
        return tuple(spelled[name.lower()] for name in names)

    def chooser(self, only: Iterable[str] = (), groups: Iterable[str] = (), where: str = ''):
        """Makes the test for a subset: a video that has any of the attributes or of the groups.

        Args:
            only: Attributes of this table.
            groups: Common groups.
            where: Who asks, for messages.

        Returns:
            A function of a video's name; True for all if nothing is asked for.

        Raises:
            MMKDError: If there is no such attribute or group.
        """
        wanted = set(self.check_names(only, f'{where} only' if where else 'only'))
        wanted_groups = set(check_groups(groups, f'{where} groups' if where else 'groups'))

        def is_wanted(video: str) -> bool:
            if not wanted and not wanted_groups:
                return True
            return bool(
                wanted.intersection(self.of(video))
                or wanted_groups.intersection(self.groups_of(video))
            )

        return is_wanted

    def save(self, path: str) -> None:
        """Writes our own json, which ``load_attributes`` and ``AttributeSOTMetric`` read."""
        content = {
            'schema': SCHEMA,
            'source': self.source,
            'names': list(self.names),
            # For who reads the file without this package's idea of groups.
            'groups': {
                group: [name for name in self.names if group_of(name) == group]
                for group in groups_of(self.names)
            },
            'videos': {video: list(names) for video, names in self.videos.items()},
        }
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def is_own(content) -> bool:
    """Whether a json's content says that it is ours."""
    return isinstance(content, dict) and str(content.get('schema', '')).startswith(
        'mmkd-attributes-'
    )


def of_own(content: dict, path: str) -> AttributeTable:
    """Reads the content of our own json.

    Raises:
        MMKDError: If it is of another version or not complete.
    """
    if content.get('schema') != SCHEMA:
        raise MMKDError(
            f"'{path}' has the schema '{content.get('schema')}'; this version reads '{SCHEMA}'."
        )
    names, videos = content.get('names'), content.get('videos')
    if not is_list_of_names(names):
        raise MMKDError(f"'{path}': 'names' must be a list of the attributes' names.")
    if not isinstance(videos, dict):
        raise MMKDError(f"'{path}': 'videos' must be a dict of video -> list of attributes.")
    for video, attributes in videos.items():
        if not is_list_of_names(attributes):
            raise MMKDError(
                f"'{path}': video '{video}' must have a list of attributes; it has "
                f"'{str(attributes)[:60]}'."
            )
    return AttributeTable(tuple(names), videos, source=str(path))


def is_list_of_names(value) -> bool:
    """Whether this is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
