"""Reading CocoVID annotation files."""

from __future__ import annotations

import json
import os.path as osp
from typing import List, Sequence, Union

from mmengine.fileio import list_from_file

from mmkd.errors import MMKDError

CONVERTER = (
    'python tools/dataset_converters/mot2coco.py --input <folder of sequences> '
    '--output <folder of annotation files>'
)


def read_cocovid(path: str, with_videos: bool = True) -> dict:
    """Reads an annotation file.

    Args:
        path: Of the json file.
        with_videos: Whether it must have videos.

    Raises:
        MMKDError: If there is no such file or it is not CocoVID.
    """
    if not osp.isfile(path):
        raise MMKDError(f"The annotation file '{path}' does not exist. Make it with: {CONVERTER}")
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MMKDError(f"'{path}' is not a json file: {error}") from error
    needed = ['images', 'categories'] + (['videos'] if with_videos else [])
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise MMKDError(
            f"'{path}' is not a CocoVID annotation file: it has no "
            f'{" and no ".join(missing)}. Make one with: {CONVERTER}'
        )
    return content


def group_images(content: dict, path: str, by_video: bool = True) -> List[List[dict]]:
    """Frames of each video in order; for single images, each alone.

    Args:
        content: Of :func:`read_cocovid`.
        path: Of the file, for messages.
        by_video: False for single images.

    Raises:
        MMKDError: If an image has no place in a video.
    """
    images = sorted(content['images'], key=lambda image: image['id'])
    if not by_video:
        return [[image] for image in images]
    videos = {video['id']: [] for video in content['videos']}
    for image in images:
        if image.get('video_id') not in videos or 'frame_id' not in image:
            raise MMKDError(
                f"{path}: image '{image['file_name']}' has no frame_id or belongs to "
                f'no video of the file. For a file of single images set load_as_video=False.'
            )
        videos[image['video_id']].append(image)
    for video in videos.values():
        video.sort(key=lambda image: image['frame_id'])
    return [video for video in videos.values() if video]


def with_both_spellings(metainfo: dict | None) -> dict | None:
    """Class names under the key of old and of new mmdet versions, always as a tuple."""
    if metainfo is None:
        return None
    metainfo = dict(metainfo)
    names: Union[str, Sequence[str], None] = metainfo.get('classes', metainfo.get('CLASSES'))
    if names is None:
        return metainfo
    if isinstance(names, str):
        # ('pedestrian') without its comma is a string: one class, or a file of names.
        names = list_from_file(names) if osp.isfile(names) else (names,)
    metainfo['classes'] = metainfo['CLASSES'] = tuple(names)
    return metainfo
