"""Extracts a video into a sequence of MOTChallenge's layout (img1/, gt/gt.txt, seqinfo.ini).

python tools/dataset_converters/video2mot.py walk.avi data/mine/train/walk --gt gt.txt
"""

from __future__ import annotations

import argparse
import re
import sys

from mmkd.datasets.converters.video import extract_sequence
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('video', help='video file')
    parser.add_argument('sequence', help="the sequence's folder, made if it is not there")
    parser.add_argument('--gt', help='ground truth of the video, in columns of MOTChallenge')
    parser.add_argument('--frames', default='1:', help='first:last, both included; default: all')
    parser.add_argument('--fps', type=float, help="frame rate; default: the video's own")
    parser.add_argument('--quality', type=int, default=95, help='of the JPEG files')
    parser.add_argument('--skip-bad', action='store_true', help='leave out bad lines of --gt')
    parser.add_argument('--force', action='store_true', help='replace what is there')
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Extracts and prints what was written."""
    match = re.fullmatch(r'(\d*)[:-](\d*)', args.frames)
    first, last = (int(x) if x else None for x in match.groups()) if match else (0, 0)
    first = 1 if first is None else first
    if first < 1 or (last is not None and last < first):
        raise MMKDError(f"--frames: '{args.frames}' is no range like 1:600 (both included).")
    report = extract_sequence(
        args.video,
        args.sequence,
        gt=args.gt,
        first=first,
        last=last,
        fps=args.fps,
        quality=args.quality,
        skip_bad=args.skip_bad,
        force=args.force,
    )
    print(
        f'{args.sequence}: {report["frames"]} frames of {report["width"]}x{report["height"]} at '
        f'{report["fps"]} fps, {report["boxes"]} boxes'
    )
    for reason, count in report['skipped'].items():
        print(f'  left out: {count} lines, {reason}')


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
