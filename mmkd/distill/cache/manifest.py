"""What a cache is of: everything that could make its features other ones."""

from __future__ import annotations

import hashlib
import json
import os.path as osp
from dataclasses import dataclass, field, fields
from typing import Any, Dict, List, Optional, Sequence, Tuple

from mmkd.errors import MMKDError

from ..teachers.fingerprint import Fingerprint, explain
from .layout import MANIFEST, Layout
from .publish import publish_json

SCHEMA = 1
EXACT, WARP = 'exact', 'warp'
MODES = (EXACT, WARP)
_SHOWN = 3


@dataclass(frozen=True)
class Manifest:
    """The identity of a cache, as it lies in its folder.

    Args:
        mode: 'exact' or 'warp'.
        storage: See :func:`.codec.parse_storage`.
        features: Names of the teacher's features.
        layout: How many records there are and where.
        seed: That the augmentations are replayed from.
        canvas: (h, w) of the pictures in warp mode, in pixels.
        teacher: Its fingerprint.
        data: Of the data set: name of a part to its hash.
        augmentation: Of the pipeline: 'parameters', 'code' and 'packages', each name to text.
        shapes: Feature to (channels, h, w) of each record, where all have the same.
        report: What was measured when it was built: feature to numbers. Not part of the identity.
        schema: Of the files.
    """

    mode: str
    storage: str
    features: Tuple[str, ...]
    layout: Layout
    seed: int
    canvas: Optional[Tuple[int, int]]
    teacher: Fingerprint
    data: Dict[str, str]
    augmentation: Dict[str, Dict[str, str]]
    shapes: Dict[str, Tuple[int, ...]] = field(default_factory=dict)
    report: Dict[str, Dict[str, float]] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def owner(self) -> str:
        """A hash of the identity, which every shard carries."""
        content = self._plain()
        del content['report'], content['shapes']
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def save(self, path: str) -> None:
        """Args:
        path: The cache's folder.
        """
        publish_json(osp.join(path, MANIFEST), self._plain())

    def _plain(self) -> Dict[str, Any]:
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        # A NamedTuple is a list to JSON, and lists of numbers have no names.
        content['layout'] = self.layout._asdict()
        content['teacher'] = self.teacher._asdict()
        return json.loads(json.dumps(content))

    @classmethod
    def load(cls, path: str) -> Manifest:
        """Args:
            path: The cache's folder.

        Raises:
            MMKDError: There is no cache, or it is of another version of the format, or its
                manifest is damaged.
        """
        file = osp.join(path, MANIFEST)
        if not osp.isfile(file):
            raise MMKDError(
                f"There is no cache of a teacher in '{path}' (no {MANIFEST}). Build it with: "
                'python tools/cache_teacher.py CONFIG'
            )
        try:
            with open(file) as stream:
                content = json.load(stream)
            schema = content['schema']
        except (ValueError, KeyError, TypeError) as error:
            raise MMKDError(f"'{file}' is damaged ({type(error).__name__}: {error}).") from error
        if schema != SCHEMA:
            raise MMKDError(
                f"The cache in '{path}' has the format {schema!r}, but this mmkd reads {SCHEMA}. "
                'Build it anew in another folder.'
            )
        names = {each.name for each in fields(cls)}
        if set(content) != names:
            odd = ', '.join(sorted(set(content) ^ names))
            raise MMKDError(f"'{file}' is damaged: it lacks, or has besides, {odd}.")
        try:
            return cls(
                **{
                    **content,
                    'features': tuple(content['features']),
                    'layout': Layout(**content['layout']),
                    'canvas': None if content['canvas'] is None else tuple(content['canvas']),
                    'teacher': Fingerprint(**content['teacher']),
                    'shapes': {k: tuple(v) for k, v in content['shapes'].items()},
                }
            )
        except TypeError as error:
            raise MMKDError(f"'{file}' is damaged ({error}).") from error


def differences(saved: Manifest, **current: Any) -> List[str]:
    """What has changed since a cache was built, one sentence for each part.

    Args:
        saved: Of the cache.
        current: Fields of a manifest, as they are now; only those are compared.
    """
    words: List[str] = []
    for name, now in current.items():
        before = getattr(saved, name)
        if name == 'teacher':
            if before.hash != now.hash:
                words.append(f'The teacher is another one: {explain(before, now)}')
        elif name == 'features':
            missing = [each for each in now if each not in before]
            if missing:
                words.append(
                    f'Features (taps): {_few(missing)} is asked for, but {_few(before)} is stored.'
                )
        elif name == 'data':
            changed = _changed(before, now)
            if changed:
                words.append(f'The data set: other {_few(changed)}.')
        elif name == 'augmentation':
            words.extend(_augmentation(before, now))
        elif before != now:
            words.append(f'{name} was {_plain_of(before)} and is {_plain_of(now)}.')
    return words


def refuse(path: str, words: Sequence[str], what: str) -> None:
    """Raises:
    MMKDError: There are differences.
    """
    if words:
        raise MMKDError(
            f"The cache in '{path}' is not of this {what}. {' '.join(words)} Build one in another "
            'folder, or go back to what it was built of.'
        )


def _augmentation(before: Dict[str, Dict[str, str]], now: Dict[str, Dict[str, str]]) -> List[str]:
    kinds = {
        'parameters': 'The augmentation: other parameters of {}.',
        'code': 'The augmentation: other code in {}.',
        'packages': 'The augmentation: other versions of {}.',
    }
    words = []
    for kind, sentence in kinds.items():
        changed = _changed(before.get(kind, {}), now.get(kind, {}))
        if changed:
            if kind == 'packages':
                old, new = before.get(kind, {}), now.get(kind, {})
                changed = [f'{n} ({old.get(n, "none")}, now {new.get(n, "none")})' for n in changed]
            words.append(sentence.format(_few(changed)))
    return words


def _changed(before: Dict[str, str], now: Dict[str, str]) -> List[str]:
    return sorted(key for key in {*before, *now} if before.get(key) != now.get(key))


def _few(names: Sequence[str]) -> str:
    shown = ', '.join(map(str, names[:_SHOWN]))
    return shown + (f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else '')


def _plain_of(value: Any) -> str:
    return repr(value._asdict() if hasattr(value, '_asdict') else value)
