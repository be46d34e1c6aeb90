"""Examines a config before a long run: what is installed, what is there, what it will take.

    python tools/doctor.py configs/kd/fairmot_dinov2.py

prints one page, with every problem and its remedy. Exit status: 0 fine, 1 a problem stops
training, 2 the doctor was called wrongly. docs/doctor.md explains the page.
"""

import argparse
import json
import logging
import os.path as osp
import sys
import warnings
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.logging import MMLogger

from mmkd.apis.doctor import diagnose
from mmkd.apis.doctor_case import Case
from mmkd.apis.doctor_page import as_json, render
from mmkd.apis.experiment import load_config
from mmkd.errors import MMKDError

FINE, PROBLEMS, WRONG_CALL = 0, 1, 2


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='training config file')
    parser.add_argument('--checkpoint', metavar='FILE', help='compare its keys with the model')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that replace those of the config, as key=value, as for tools/train.py',
    )
    parser.add_argument('--work-dir', help='of the training; its disk is looked at')
    parser.add_argument('--out', metavar='DIR', help='for the pictures; default: the work dir')
    parser.add_argument(
        '--steps', type=int, default=3, metavar='N', help='timed steps; default: %(default)s'
    )
    parser.add_argument('--no-time', action='store_true', help='train no step')
    parser.add_argument('--device', help='where to train; default: a GPU if there is one')
    parser.add_argument('--json', metavar='FILE', help='also write the page for programs')
    return parser.parse_args()


def make_case(args: argparse.Namespace) -> Case:
    """Turns the command line into a case.

    Raises:
        MMKDError: Something that was asked for is not there.
    """
    if args.steps < 1:
        raise MMKDError(f'--steps is {args.steps}; expected 1 or more (--no-time trains none).')
    if args.checkpoint is not None and not osp.isfile(args.checkpoint):
        raise MMKDError(f'There is no checkpoint {args.checkpoint!r}.')
    args.launcher, args.local_rank = 'none', 0
    try:
        cfg = load_config(args)
    except MMKDError:
        raise
    except Exception as error:  # a config is a program
        raise MMKDError(
            f'{args.config} cannot be read ({type(error).__name__}): {error}'
        ) from error
    if 'model' not in cfg:
        raise MMKDError(f'{args.config} has no model, so it is no training config.')
    return Case(
        cfg=cfg,
        config=args.config,
        device=_device(args.device),
        out=Path(args.out or cfg.work_dir),
        steps=0 if args.no_time else args.steps,
        checkpoint=args.checkpoint,
    )


def _device(name: str) -> torch.device:
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # torch has several for what is not there
        raise MMKDError(f'--device {name}: {str(error).splitlines()[0]}') from error
    return device


def main() -> int:
    args = parse_args()
    # The page is the report: what training would log or warn of has its place there.
    for name in ('mmkd', 'mmengine'):
        MMLogger.get_instance(name).setLevel(logging.CRITICAL)
    warnings.simplefilter('ignore')
    case = make_case(args)
    sections = diagnose(case)
    title = f'mmkd doctor: {args.config}'
    sys.stdout.write(render(title, sections, colour=sys.stdout.isatty()))
    result = as_json(args.config, sections)
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(result, indent=1, default=str) + '\n')
    return FINE if result['ok'] else PROBLEMS


if __name__ == '__main__':
    try:
        sys.exit(main())
    except MMKDError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(WRONG_CALL)
