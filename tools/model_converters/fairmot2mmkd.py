"""Turns a checkpoint of the original FairMOT, or ImageNet weights of its backbones, into ours."""

import argparse
import sys

from mmkd.apis.convert_fairmot import convert_checkpoint
from mmkd.apis.convert_rules import ARCHS
from mmkd.errors import MMKDError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='checkpoint of ifzhang/FairMOT, or of a backbone')
    parser.add_argument('target', help='file to write')
    parser.add_argument('--arch', required=True, help=f'network: {", ".join(ARCHS)}')
    parser.add_argument('--force', action='store_true', help='replace the target if it exists')
    parser.add_argument(
        '--allow-extra', action='store_true', help='pass over names in the file that are unknown'
    )
    parser.add_argument(
        '--allow-missing', action='store_true', help='accept that the file does not fill our model'
    )
    parser.add_argument(
        '--init',
        action='store_true',
        help="convert what fits and list the rest, to start a training, e.g. from CenterNet's "
        'ctdet_coco_dla_2x.pth',
    )
    args = parser.parse_args()
    try:
        report = convert_checkpoint(
            args.source,
            args.target,
            args.arch,
            force=args.force,
            allow_extra=args.allow_extra,
            allow_missing=args.allow_missing,
            init=args.init,
        )
    except MMKDError as error:
        sys.exit(f'error: {error}')
    print(report.text())
    print(f'wrote {args.target}')


if __name__ == '__main__':
    main()
