"""Lists the sequences of UAV123 or UAV20L for mmkd.UAV123Dataset and mmtrack's.

    python tools/dataset_converters/gen_uav123_infos.py --input data/UAV123 \
        --output data/UAV123/annotations

writes uav123_infos.txt, or with --benchmark UAV20L uav20l_infos.txt.
"""

from __future__ import annotations

import argparse
import sys

from mmkd.datasets.converters.sot_options import add_options, write
from mmkd.datasets.converters.uav123 import SEQUENCES, convert_uav123
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--input', '-i', required=True, help='folder of anno and data_seq')
    parser.add_argument(
        '--benchmark', choices=list(SEQUENCES), default='UAV123', help='default: UAV123'
    )
    add_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the lists and prints what is in them."""
    found = convert_uav123(args.input, args.benchmark, args.skip_bad)
    write({args.benchmark.lower(): found}, args)


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
