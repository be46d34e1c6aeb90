"""Lists the sequences of OTB100 for mmkd.OTB100Dataset and mmtrack's.

    python tools/dataset_converters/gen_otb100_infos.py --input data/OTB100 \
        --output data/OTB100/annotations

writes otb100_infos.txt.
"""

from __future__ import annotations

import argparse
import sys

from mmkd.datasets.converters.otb100 import convert_otb100
from mmkd.datasets.converters.sot_options import add_options, write
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--input', '-i', required=True, help='folder of [data/]<video>')
    add_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Writes the lists and prints what is in them."""
    write({'otb100': convert_otb100(args.input, args.skip_bad)}, args)


if __name__ == '__main__':
    try:
        run(parse_args())
    except MMKDError as error:
        sys.exit(f'error: {error}')
