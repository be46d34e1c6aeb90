"""Trains a model from a config: mmtrack's tools/train.py, with mmkd's modules registered."""

import argparse
import os.path as osp
import sys

from mmengine.config import Config

from mmkd.apis.experiment import (
    add_common_arguments,
    add_speed_arguments,
    build_runner,
    check_checkpoint,
    enable_amp,
    enable_compile,
    load_config,
)
from mmkd.errors import MMKDError


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='training config file')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate from the config's base_batch_size to the actual one",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the latest one in the work dir',
    )
    add_speed_arguments(parser)
    add_common_arguments(parser)
    return parser.parse_args()


def enable_auto_scale_lr(cfg: Config) -> None:
    """Switches on mmengine's linear scaling."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise MMKDError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config: the '
            'batch size, over all GPUs, that its learning rate is meant for.'
        )
    cfg.auto_scale_lr.enable = True


def enable_resume(cfg: Config, resume: str) -> None:
    """Goes on from a checkpoint instead of starting from the config's ``load_from``.

    mmengine takes ``load_from`` for what to resume if there is one. A recipe that starts from other
    weights would thereby start anew, with an optimiser's state that those weights do not have.

    Args:
        cfg: The config, which is changed.
        resume: A checkpoint, or 'auto': the latest in the work dir, or a start if there is none.
    """
    if resume != 'auto':
        cfg.resume, cfg.load_from = True, resume
    elif osp.isfile(osp.join(cfg.work_dir, 'last_checkpoint')):
        cfg.resume, cfg.load_from = True, None
    else:
        print(f'--resume: {cfg.work_dir} holds no checkpoint yet, so training starts.')


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp or args.amp_dtype:
        enable_amp(cfg, args.amp_dtype)
    if args.compile:
        enable_compile(cfg)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if args.resume is not None:
        enable_resume(cfg, args.resume)
    check_checkpoint(cfg.get('load_from'))
    build_runner(cfg).train()


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
