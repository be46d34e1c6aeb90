"""Turns a SiamRPN++ checkpoint of PySOT into one of mmtrack and mmkd."""

import argparse
import sys

from mmkd.apis.convert_pysot import ANCHORS, ARCHS, convert_checkpoint
from mmkd.errors import MMKDError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='model.pth of STVIR/pysot, or a snapshot of its training')
    parser.add_argument('target', help='file to write')
    parser.add_argument(
        '--arch', help=f'network: {", ".join(ARCHS)} (default: what the file looks like)'
    )
    parser.add_argument(
        '--anchors',
        default='mmtrack',
        help=f'{" or ".join(ANCHORS)} (default: %(default)s). PySOT rounds two of its five anchors '
        "differently: 'mmtrack' rewrites the last convolution of the regression so that boxes are "
        "PySOT's with the configs here; 'pysot' leaves the values as they are",
    )
    parser.add_argument('--force', action='store_true', help='replace the target if it exists')
    parser.add_argument(
        '--allow-extra', action='store_true', help='pass over names in the file that are unknown'
    )
    parser.add_argument(
        '--allow-missing', action='store_true', help='accept that the file does not fill our model'
    )
    args = parser.parse_args()
    try:
        report = convert_checkpoint(
            args.source,
            args.target,
            args.arch,
            force=args.force,
            anchors=args.anchors,
            allow_extra=args.allow_extra,
            allow_missing=args.allow_missing,
        )
    except MMKDError as error:
        sys.exit(f'error: {error}')
    print(report.text())
    print(f'wrote {args.target}')


if __name__ == '__main__':
    main()
