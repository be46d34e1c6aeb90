"""Small single-object data sets in the benchmarks' own layouts for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterable, List

import cv2
import numpy as np

from mmkd.datasets.attributes.text_files import LASOT
from mmkd.datasets.sot_infos import VideoInfo, write_infos


def boxes_of(frames: int) -> List[str]:
    """A box that moves and grows a little."""
    return [f'{5 + i},{4 + i},{20 + i},{12 + i}' for i in range(frames)]


def write_frames(folder: Path, numbers: Iterable[int], template: str = '%08d.jpg') -> None:
    """Writes images of 64 x 48 pixels, or empty files where nobody reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = np.full((48, 64, 3), number % 256, np.uint8)
        cv2.imwrite(str(folder / (template % number)), image)


def write_lines(path: Path, lines: Iterable) -> Path:
    """Writes a text file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(str, lines)) + '\n')
    return path


def make_lasot(
    root: Path,
    videos: Dict[str, List[str]],
    frames: int = 6,
    absent: Dict[str, List[int]] | None = None,
    boxes: Dict[str, List[str]] | None = None,
    images: bool = True,
) -> Path:
    """Writes ``LaSOTBenchmark``, ``att`` and ``annotations/lasot_train_infos.txt``.

    Args:
        root: The folder of these three.
        videos: Name -> attributes.
        frames: Of each video.
        absent: Name -> indices of fully occluded frames.
        boxes: Name -> lines of groundtruth.txt, instead of :func:`boxes_of`.
        images: False: no images.
    """
    infos = []
    for name, attributes in videos.items():
        rel = f'{name.split("-")[0]}/{name}'
        folder = root / 'LaSOTBenchmark' / rel
        lines = (boxes or {}).get(name) or boxes_of(frames)
        count = len(lines)
        if images:
            write_frames(folder / 'img', range(1, count + 1))
        hidden = (absent or {}).get(name, [])
        write_lines(folder / 'groundtruth.txt', lines)
        occluded = ','.join(str(int(i in hidden)) for i in range(count))
        write_lines(folder / 'full_occlusion.txt', [occluded])
        write_lines(folder / 'out_of_view.txt', [','.join('0' * count)])
        values = ','.join(str(int(a in attributes)) for a in LASOT)
        write_lines(root / 'att' / f'{name}.txt', [values])
        infos.append(VideoInfo(f'{rel}/img', f'{rel}/groundtruth.txt', 1, count))
    write_infos(str(root / 'annotations' / 'lasot_train_infos.txt'), infos)
    return root


def lasot_config(root: Path, **kwargs) -> dict:
    """Of mmkd.LaSOTDataset on :func:`make_lasot`'s folder."""
    return {
        'data_root': str(root),
        'ann_file': 'annotations/lasot_train_infos.txt',
        'data_prefix': {'img_path': 'LaSOTBenchmark'},
        **kwargs,
    }
