"""Lists the videos of LaSOT for mmkd.LaSOTDataset and mmtrack's.

    python tools/dataset_converters/gen_lasot_infos.py --input data/LaSOT_full/LaSOTBenchmark \
        --output data/LaSOT_full/annotations --toolkit LaSOT_Evaluation_Toolkit

writes lasot_train_infos.txt and lasot_test_infos.txt. Which 280 videos are for testing is in the
official evaluation toolkit (https://github.com/HengLan/LaSOT_Evaluation_Toolkit); its folder of
attributes is used for subsets:

    ... --attribute FOC,POC        also writes lasot_train_FOC-POC_infos.txt and the test set's
"""

from __future__ import annotations

import argparse
import sys

from mmkd.datasets.converters.lasot import SPLITS, convert_lasot, find_test_list
from mmkd.datasets.converters.sot_options import add_options, write
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--input', '-i', required=True, help='folder of <class>/<video>/groundtruth.txt'
    )
    parser.add_argument('--toolkit', help="folder of LaSOT's evaluation toolkit")
    parser.add_argument('--list', help="file of the test videos' names, instead of the toolkit's")
    parser.add_argument('--split', choices=(*SPLITS, 'all'), default='all', help='default: all')
    add_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the lists and prints what is in them."""
    if not args.list and not args.toolkit:
        raise MMKDError(
            "Which videos are LaSOT's test set is in its evaluation toolkit: name its folder with "
            '--toolkit, or a file of names with --list.'
        )
    names = args.list or find_test_list(args.toolkit)
    args.attributes = args.attributes or args.toolkit
    splits = SPLITS if args.split == 'all' else (args.split,)
    found = convert_lasot(args.input, names, splits, args.skip_bad)
    write({f'lasot_{split}': listing for split, listing in found.items()}, args)


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
