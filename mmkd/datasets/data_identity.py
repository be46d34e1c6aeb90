"""What a data set is: the content of its files and annotations, wherever they lie."""

from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterator, Tuple

from mmkd.errors import MMKDError

_CHUNK = 1 << 20
_PATHS = ('img_path', 'img_paths')
# What a record says of where files lie, and not of what they are.
_WHERE = (*_PATHS, 'file_name', 'sample_idx', 'ann_path', 'video_path', 'seg_map_path')
# (size, time of change in ns, content), by path.
Known = Dict[str, Tuple[int, int, str]]


def identify_records(dataset: Any) -> str:
    """A hash over everything that the data set says of its samples, in order, but for paths.

    Raises:
        MMKDError: It says nothing.
    """
    if not hasattr(dataset, 'get_data_info'):
        raise MMKDError(
            f'A {type(dataset).__name__} does not say what its samples are made of, so that a '
            'cache cannot know whether it is of these data: it needs get_data_info(index), as '
            "mmengine's data sets have it."
        )
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        info = _without_paths(dataset.get_data_info(index))
        digest.update(json.dumps(info, sort_keys=True, default=repr).encode())
    return digest.hexdigest()


def identify_files(dataset: Any, known: Known, threads: int = 8) -> Tuple[str, Known]:
    """A hash over the content of all picture files, in order.

    Args:
        dataset: Its records name their files.
        known: What an earlier call returned: a file of the same path, size and time of change is
            not read again.
        threads: That read files.

    Returns:
        The hash, and what is known of each file now.

    Raises:
        MMKDError: A file is not there.
    """
    paths = list(dict.fromkeys(_files(dataset)))

    def look(path: str) -> Tuple[int, int, str]:
        try:
            state = os.stat(path)
        except OSError as error:
            raise MMKDError(f"The picture '{path}' of the data set cannot be read.") from error
        before = known.get(path)
        if before is not None and tuple(before[:2]) == (state.st_size, state.st_mtime_ns):
            return state.st_size, state.st_mtime_ns, before[2]
        return state.st_size, state.st_mtime_ns, _content(path)

    with ThreadPoolExecutor(threads) as pool:
        now: Known = dict(zip(paths, pool.map(look, paths)))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(now[path][2].encode())
    return digest.hexdigest(), now


def _files(dataset: Any) -> Iterator[str]:
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        yield from _paths(info)
        images = getattr(dataset, 'get_img_infos_from_video', None)
        if images is not None and not any(True for _ in _paths(info)):
            # Data sets of whole videos make their frames' paths when they are asked.
            yield from images(index)['img_paths']


def _paths(info: Any) -> Iterator[str]:
    if isinstance(info, dict):
        for key in _PATHS:
            value = info.get(key)
            if isinstance(value, str):
                yield value
            elif isinstance(value, (list, tuple)):
                yield from value
        for value in info.values():
            if isinstance(value, (dict, list)):
                yield from _paths(value)
    elif isinstance(info, list) and info and isinstance(info[0], dict):
        for value in info:
            yield from _paths(value)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items() if k not in _WHERE}
    if isinstance(value, (list, tuple)):
        return [_without_paths(each) for each in value]
    return value


def _content(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, 'rb') as file:
            for chunk in iter(lambda: file.read(_CHUNK), b''):
                digest.update(chunk)
    except OSError as error:
        raise MMKDError(f"The picture '{osp.abspath(path)}' cannot be read: {error}.") from error
    return digest.hexdigest()
