"""Writing annotation files in CocoVID's form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Sequence

from mmkd.errors import MMKDError


class SingleImages:
    """The content of a file of single images, which ``mmkd.MOTDataset(load_as_video=False)`` reads.

    Args:
        class_name: The name of the one category.
    """

    def __init__(self, class_name: str = 'pedestrian') -> None:
        self.content = {
            'categories': [{'id': 1, 'name': class_name}],
            'images': [],
            'annotations': [],
        }
        self._ids = set()

    @property
    def num_ids(self) -> int:
        """Different identities so far."""
        return len(self._ids)

    def add_image(self, file_name: str, width: int, height: int) -> None:
        """Adds an image; the boxes that follow belong to it."""
        images = self.content['images']
        images.append(
            {'id': len(images) + 1, 'file_name': file_name, 'height': height, 'width': width}
        )

    def add_box(self, bbox: Sequence[float], identity: int) -> None:
        """Adds a box to the last image.

        Args:
            bbox: x, y, w, h in pixels; may leave the image.
            identity: Of the person within this file; negative if unknown.
        """
        identity = max(identity, -1)
        if identity >= 0:
            self._ids.add(identity)
        # A ten-thousandth of a pixel is below what the sources' six decimals can say.
        bbox = [round(value, 4) for value in bbox]
        self.content['annotations'].append(
            {
                'id': len(self.content['annotations']) + 1,
                'image_id': len(self.content['images']),
                'category_id': 1,
                'bbox': bbox,
                'area': round(bbox[2] * bbox[3], 4),
                'iscrowd': False,
                'ignore': False,
                'instance_id': identity,
            }
        )

    def write(self, path: Path) -> dict:
        """Writes the file.

        Returns:
            ``file``, and how many ``images``, ``boxes``, ``ids``, boxes of ``unknown`` identity
            and ``empty`` images it holds.
        """
        annotations = self.content['annotations']
        self.content['num_instances'] = self.num_ids
        write_json(path, self.content)
        return {
            'file': str(path),
            'images': len(self.content['images']),
            'boxes': len(annotations),
            'ids': self.num_ids,
            'unknown': sum(ann['instance_id'] < 0 for ann in annotations),
            'empty': len(self.content['images']) - len({ann['image_id'] for ann in annotations}),
        }


def free_path(out_file: str, force: bool) -> Path:
    """The path to write to.

    Raises:
        MMKDError: If there is a file and it is not to be overwritten.
    """
    path = Path(out_file)
    if path.exists() and not force:
        raise MMKDError(f"'{path}' exists. Overwrite it with --force.")
    return path


def write_json(path: Path, content: dict) -> None:
    """Writes a file whole or not at all: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    partial.write_text(json.dumps(content, separators=(',', ':')), encoding='utf-8')
    os.replace(partial, path)


def print_report(report: dict) -> None:
    """Prints what ``SingleImages.write`` returned, and what was left out."""
    print(
        f'{report["file"]}: {report["images"]} images ({report["empty"]} without boxes), '
        f'{report["boxes"]} boxes ({report["unknown"]} of unknown identity), {report["ids"]} ids'
    )
    for reason, count in report.get('skipped', {}).items():
        print(f'  left out: {count} x {reason}')
    for note, count in report.get('notes', {}).items():
        print(f'  note: {count} x {note}')
