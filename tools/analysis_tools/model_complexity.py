"""Prints parameters, GMACs and, on request, frames per second of one or more trackers."""

import argparse
import logging
import platform
import sys

import torch
from mmengine.config import DictAction
from mmengine.logging import MMLogger

from mmkd.apis.complexity import analyze, as_markdown
from mmkd.errors import MMKDError


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: model_complexity.py configs/_base_/models/fairmot_*.py --shape 608 1088',
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config files')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help="size of the input; default: the scale of each config's test pipeline",
    )
    parser.add_argument(
        '--fps',
        action='store_true',
        help='time network and decoding, the models in turns; speeds are relative to the first',
    )
    parser.add_argument(
        '--rounds', type=int, default=10, help='turns of each model for --fps; default: %(default)s'
    )
    parser.add_argument('--device', help='where to time; default: a GPU if there is one')
    parser.add_argument(
        '--num-ids',
        type=int,
        default=0,
        metavar='N',
        help='also count the identity classifier of a training on N identities',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that replace those of every config, as key=value',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.fps and args.rounds < 1:
        raise MMKDError(f'--rounds is {args.rounds}; expected 1 or more.')
    # That the weights are random is no news here.
    MMLogger.get_instance('mmkd').setLevel(logging.ERROR)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    results = analyze(
        args.configs,
        shape=args.shape,
        rounds=args.rounds if args.fps else 0,
        num_ids=args.num_ids,
        device=device,
        cfg_options=args.cfg_options,
    )
    print(as_markdown(results))
    if args.fps:
        on_gpu = torch.device(device).type == 'cuda'
        where = torch.cuda.get_device_name(device) if on_gpu else f'{platform.machine()} processor'
        print(
            f'\nOne image at a time, float32, median of {args.rounds} rounds on {where} with '
            f'{torch.get_num_threads()} threads, PyTorch {torch.__version__}; '
            f'speed relative to {results[0].name}.'
        )


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
