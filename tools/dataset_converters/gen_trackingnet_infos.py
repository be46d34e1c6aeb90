"""Lists the videos of TrackingNet for mmkd.TrackingNetDataset and mmtrack's.

    python tools/dataset_converters/gen_trackingnet_infos.py --input data/TrackingNet \
        --output data/TrackingNet/annotations --chunks 0 1 2 3

writes trackingnet_train_infos.txt and trackingnet_test_infos.txt.
"""

from __future__ import annotations

import argparse
import sys

from mmkd.datasets.converters.sot_options import add_options, write
from mmkd.datasets.converters.trackingnet import CHUNKS, SPLITS, convert_trackingnet
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--input', '-i', required=True, help='folder of TRAIN_0 ... and TEST')
    parser.add_argument('--split', choices=(*SPLITS, 'all'), default='all', help='default: all')
    parser.add_argument(
        '--chunks',
        type=int,
        nargs='+',
        default=CHUNKS,
        help='parts of the training set, 0 to 11; default: all',
    )
    add_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the lists and prints what is in them."""
    splits = SPLITS if args.split == 'all' else (args.split,)
    found = convert_trackingnet(args.input, splits, args.chunks, args.skip_bad)
    write({f'trackingnet_{split}': listing for split, listing in found.items()}, args)


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
