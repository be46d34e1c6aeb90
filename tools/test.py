"""Tests a checkpoint and prints its metrics: mmtrack's tools/test.py, with mmkd registered."""

import argparse
import os.path as osp
import sys

from mmkd.apis.experiment import add_common_arguments, build_runner, load_config
from mmkd.errors import MMKDError


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='test config file; of a KD config the student is tested')
    # mim passes the checkpoint by its place, mmtrack's users by its name.
    parser.add_argument('checkpoint_by_place', nargs='?', metavar='checkpoint', help='weights')
    parser.add_argument('--checkpoint', help='the same, by name')
    add_common_arguments(parser)
    args = parser.parse_args()
    if args.checkpoint and args.checkpoint_by_place:
        parser.error('the checkpoint is given twice, by its place and by --checkpoint')
    args.checkpoint = args.checkpoint or args.checkpoint_by_place
    if args.checkpoint is None:
        parser.error('a checkpoint is needed: test.py CONFIG CHECKPOINT')
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    is_local = '://' not in args.checkpoint
    if is_local and not osp.isfile(args.checkpoint):
        raise MMKDError(f'There is no checkpoint {args.checkpoint!r}.')
    cfg.load_from = args.checkpoint
    cfg.resume = False
    build_runner(cfg).test()


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
