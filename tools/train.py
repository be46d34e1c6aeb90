"""Trains a model from a config: mmtrack's tools/train.py, with mmkd's modules registered."""

import argparse
import os.path as osp
import sys
from typing import Optional

from mmengine.config import Config
from mmengine.device import is_cuda_available, is_npu_available

from mmkd.apis.experiment import (
    add_common_arguments,
    add_speed_arguments,
    build_runner,
    check_checkpoint,
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


def enable_amp(cfg: Config, dtype: Optional[str] = None) -> None:
    """Puts the optimiser under mixed precision, whatever this machine computes on.

    Args:
        cfg: The config, which is changed.
        dtype: 'float16' (on a GPU only), 'bfloat16', or None for the machine's usual one.
    """
    has_gpu = is_cuda_available() or is_npu_available()
    if dtype == 'float16' and not has_gpu:
        raise MMKDError('--amp-dtype float16 needs a GPU; processors train with bfloat16.')
    wrapper = cfg.optim_wrapper
    if wrapper.type in ('AmpOptimWrapper', 'mmkd.Bf16OptimWrapper'):
        print(f'--amp: the config already trains with {wrapper.type}.')
    elif wrapper.type != 'OptimWrapper':
        raise MMKDError(
            "--amp replaces optim_wrapper.type='OptimWrapper', but the config has "
            f'{wrapper.type!r}.'
        )
    elif has_gpu and dtype != 'bfloat16':
        wrapper.type = 'AmpOptimWrapper'
        wrapper.loss_scale = 'dynamic'
    else:
        wrapper.type = 'mmkd.Bf16OptimWrapper'


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
