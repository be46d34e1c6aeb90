"""Draws the loss curves of one or more trainings, e.g. of a student with and without a teacher."""

import argparse
import sys
from pathlib import Path

from mmkd.errors import MMKDError
from mmkd.visualization.curves import draw_losses, read_run


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: plot_loss.py student=work_dirs/a student+KD=work_dirs/b --out loss.png',
    )
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='[NAME=]WORK_DIR',
        help="a training's work_dir (or its scalars.json) and what to call it; default: its folder",
    )
    parser.add_argument('--out', default='loss.png', help='picture; default: %(default)s')
    parser.add_argument('--force', action='store_true', help='replace an existing picture')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if Path(args.out).exists() and not args.force:
        raise MMKDError(f'{args.out} exists already; choose another --out or add --force.')
    runs = []
    for text in args.runs:
        name, equals, path = text.partition('=')
        # A folder may have an equals sign in its own name.
        named = equals and not Path(text).exists()
        runs.append(read_run(path, name) if named else read_run(text))
    print(draw_losses(runs, args.out))


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
