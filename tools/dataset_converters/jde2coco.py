"""Converts data sets in JDE's form (labels_with_ids) to annotation files of single images.

Caltech, CityPersons, CUHK-SYSU, PRW and ETH as JDE hands them out, with FairMOT's lists of images:

    python tools/dataset_converters/jde2coco.py --root data/JDE --output data/JDE/annotations \
        --list caltech.all citypersons.train cuhksysu.train prw.train eth.train

writes caltech_all.json, citypersons_train.json and so on. Without lists:

    python tools/dataset_converters/jde2coco.py --root data/JDE/PRW --output data/JDE/annotations

writes PRW.json of every labelled image below the folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmkd.datasets.converters.coco import print_report
from mmkd.datasets.converters.jde import UNLABELLED, convert_jde
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--root', required=True, help='folder that the paths in the lists start at')
    parser.add_argument('--output', '-o', required=True, help='folder for the json files')
    parser.add_argument(
        '--list', nargs='+', default=[], help='files of image paths, one json for each of them'
    )
    parser.add_argument('--name', help='of the json file, if there is one; default: the list')
    parser.add_argument(
        '--unlabelled',
        choices=UNLABELLED,
        help='what to do with an image without a label file; default: stop with lists, skip '
        'without; empty takes it as an image without people',
    )
    parser.add_argument(
        '--skip-bad', action='store_true', help='count bad lines and images and leave them out'
    )
    parser.add_argument('--force', action='store_true', help='overwrite json files')
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the json files and prints what is in them."""
    jobs = {Path(path).name.replace('.', '_'): path for path in args.list}
    if len(jobs) < len(args.list):
        raise MMKDError('--list names the same file twice, or two files of one name.')
    jobs = jobs or {Path(args.root).resolve().name: None}
    if args.name:
        if len(jobs) > 1:
            raise MMKDError('--name is for one json file, and --list makes several.')
        jobs = dict(zip([args.name], jobs.values()))
    targets = {name: Path(args.output) / f'{name}.json' for name in jobs}
    there = [str(path) for path in targets.values() if path.exists()]
    if there and not args.force:
        raise MMKDError(f'These files exist: {", ".join(there)}. Overwrite them with --force.')
    for name, path in jobs.items():
        report = convert_jde(
            args.root,
            str(targets[name]),
            list_file=path,
            unlabelled=args.unlabelled,
            skip_bad=args.skip_bad,
            force=args.force,
        )
        print_report(report)


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
