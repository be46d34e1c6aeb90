"""Converts sequences in MOTChallenge's layout to annotation files of mmtrack (CocoVID json).

MOT15, MOT16, MOT17, MOT20, DanceTrack, or your own folder:

    python tools/dataset_converters/mot2coco.py --input data/MOT17/train \
        --output data/MOT17/annotations --split-half

writes train.json, half-train.json and half-val.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmkd.datasets.converters.mot import DETECTORS, convert, frame_range, half, parse_classes
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--input', '-i', required=True, help='folder of sequences, or one sequence')
    parser.add_argument('--output', '-o', required=True, help='folder for the json files')
    parser.add_argument('--name', help="name of the json file; default: the input folder's")
    parser.add_argument('--frames', help='only these frames of each sequence, e.g. 1:400')
    parser.add_argument(
        '--split-half',
        nargs='?',
        const='mmtrack',
        choices=('mmtrack', 'fairmot'),
        help='also write half-train and half-val: each sequence cut after n // 2 + 1 frames, as '
        'mmtrack does (default), or after n // 2, as FairMOT does',
    )
    parser.add_argument(
        '--detector',
        default='FRCNN',
        help="MOT17 holds each scene once for each public detector: the copy to use, or 'all' "
        f'(a person then has one id in all copies); {", ".join(DETECTORS)}; default: FRCNN',
    )
    parser.add_argument(
        '--classes', help="what gt.txt's class column means, e.g. 1:person,2:vehicle"
    )
    parser.add_argument('--fps', type=float, help='frame rate, if seqinfo.ini is wrong or missing')
    parser.add_argument(
        '--skip-bad', action='store_true', help='count bad lines and leave them out'
    )
    parser.add_argument('--force', action='store_true', help='overwrite json files')
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the json files and prints what is in them."""
    prefix = f'{args.name}_' if args.name else ''
    jobs = {args.name or Path(args.input).resolve().name: None}
    if args.frames:
        jobs = {name: frame_range(args.frames) for name in jobs}
    if args.split_half:
        if args.frames:
            raise MMKDError('--frames and --split-half cannot both choose the frames.')
        parts = {which: half(which, args.split_half) for which in ('train', 'val')}
        jobs.update({f'{prefix}half-{which}': choose for which, choose in parts.items()})
    targets = {name: Path(args.output) / f'{name}.json' for name in jobs}
    there = [str(path) for path in targets.values() if path.exists()]
    if there and not args.force:
        raise MMKDError(f'These files exist: {", ".join(there)}. Overwrite them with --force.')
    for name, frames in jobs.items():
        report = convert(
            args.input,
            str(targets[name]),
            frames=frames,
            detector=args.detector,
            classes=parse_classes(args.classes) if args.classes else None,
            fps=args.fps,
            skip_bad=args.skip_bad,
            force=args.force,
        )
        width = max(len(sequence['name']) for sequence in report['sequences'])
        print(f'{report["file"]}')
        for row in report['sequences']:
            print(
                f'  {row["name"]:{width}}  {row["frames"]:6} frames  {row["boxes"]:8} boxes  '
                f'{row["ids"]:5} ids'
            )
            for reason, count in row['skipped'].items():
                print(f'  {"":{width}}  left out: {count} x {reason}')
        print(
            f'  {"in all":{width}}  {report["frames"]:6} frames  {report["boxes"]:8} boxes  '
            f'{report["ids"]:5} ids'
        )
        if len(report['classes']) > 1:
            print('  boxes: ' + ', '.join(f'{n} {name}' for name, n in report['classes'].items()))


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
