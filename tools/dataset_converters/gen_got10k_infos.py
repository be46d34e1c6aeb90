"""Lists the videos of GOT-10k for mmkd.GOT10kDataset and mmtrack's.

    python tools/dataset_converters/gen_got10k_infos.py --input data/GOT10k \
        --output data/GOT10k/annotations

writes got10k_train_infos.txt, got10k_val_infos.txt and got10k_test_infos.txt. The splits train_vot
and val_vot leave out what is in VOT; their files are named in docs/sot_data.md.
"""

from __future__ import annotations

import argparse
import sys

from mmkd.datasets.converters.got10k import SPLITS, convert_got10k
from mmkd.datasets.converters.sot_options import add_options, write
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--input', '-i', required=True, help='folder of train, val and test')
    parser.add_argument(
        '--split',
        nargs='+',
        choices=SPLITS,
        default=['train', 'val', 'test'],
        help='default: train val test',
    )
    add_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the lists and prints what is in them."""
    found = convert_got10k(args.input, args.split, args.skip_bad)
    write({f'got10k_{split}': listing for split, listing in found.items()}, args)


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
