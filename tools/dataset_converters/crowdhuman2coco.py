"""Converts CrowdHuman to annotation files of single images.

    python tools/dataset_converters/crowdhuman2coco.py --input data/CrowdHuman \
        --output data/CrowdHuman/annotations

reads annotation_train.odgt, annotation_val.odgt and Images/, and writes train.json and val.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmkd.datasets.converters.coco import print_report
from mmkd.datasets.converters.crowdhuman import BOXES, IDS, convert_crowdhuman
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--input', '-i', required=True, help='folder of the odgt files')
    parser.add_argument('--output', '-o', required=True, help='folder for the json files')
    parser.add_argument('--images', help="folder of the images; default: the input's Images/")
    parser.add_argument(
        '--split', nargs='+', choices=('train', 'val'), help='default: those whose odgt is there'
    )
    parser.add_argument(
        '--ids',
        choices=IDS,
        default='box',
        help='box: each box is an identity of its own (default); none: learn detection only',
    )
    parser.add_argument(
        '--boxes', choices=sorted(BOXES), default='full', help='of each person; default: full'
    )
    parser.add_argument(
        '--skip-bad', action='store_true', help='count bad lines and images and leave them out'
    )
    parser.add_argument('--force', action='store_true', help='overwrite json files')
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the json files and prints what is in them."""
    sources = {name: Path(args.input) / f'annotation_{name}.odgt' for name in ('train', 'val')}
    splits = args.split or [name for name, path in sources.items() if path.is_file()]
    if not splits:
        raise MMKDError(
            f"'{args.input}' holds neither annotation_train.odgt nor annotation_val.odgt."
        )
    targets = {name: Path(args.output) / f'{name}.json' for name in splits}
    there = [str(path) for path in targets.values() if path.exists()]
    if there and not args.force:
        raise MMKDError(f'These files exist: {", ".join(there)}. Overwrite them with --force.')
    for name in splits:
        report = convert_crowdhuman(
            str(sources[name]),
            args.images or str(Path(args.input) / 'Images'),
            str(targets[name]),
            ids=args.ids,
            boxes=args.boxes,
            skip_bad=args.skip_bad,
            force=args.force,
        )
        print_report(report)


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
