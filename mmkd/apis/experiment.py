"""What tools/train.py and tools/test.py share: one way from a command line to a config."""

from __future__ import annotations

import argparse
import os
import os.path as osp
import sys
from importlib.util import find_spec

import torch
from mmengine.config import Config, DictAction
from mmengine.device import is_cuda_available, is_npu_available
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.utils import digit_version

from mmkd.errors import MMKDError


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that training and testing have in common, as mmtrack's own tools name them."""
    parser.add_argument(
        '--work-dir', help='where logs and results go (work_dirs/<config> if unset)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that replace those of the config, as key=value; nested keys with dots, '
        'lists as key="[a,b]" without white space',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch has written it both ways over the years.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)


def add_speed_arguments(parser: argparse.ArgumentParser) -> None:
    """Mixed precision and compilation, which training and testing have in common."""
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (bfloat16 where there is no GPU)'
    )
    parser.add_argument(
        '--amp-dtype',
        choices=['float16', 'bfloat16'],
        help='mixed precision in this type (with --amp alone: float16 on a GPU, else bfloat16)',
    )
    parser.add_argument(
        '--compile', action='store_true', help="torch.compile (the config's key 'compile')"
    )


def check_checkpoint(path: str | None) -> None:
    """Looks for a checkpoint before hours of data are read, if it is a file of this machine.

    Raises:
        MMKDError: If there is no such file.
    """
    if path and '://' not in path and not osp.isfile(path):
        raise MMKDError(
            f'There is no checkpoint {path!r}. The config names it as load_from, or the command '
            'line does; the config says where it comes from, if it is not yours.'
        )


def enable_amp(cfg: Config, dtype: str | None = None) -> None:
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


def set_amp_dtype(dtype: str | None) -> None:
    """Sets what mmengine's loops compute in when they are told ``fp16=True``.

    Args:
        dtype: 'float16', 'bfloat16', or None for torch's usual one.

    Raises:
        MMKDError: For float16 without a GPU, which mmengine does not do.
    """
    if dtype == 'float16' and not torch.cuda.is_available():
        raise MMKDError('--amp-dtype float16 needs a GPU; processors compute in bfloat16.')
    if dtype is not None and torch.cuda.is_available():
        # Also what mmengine asks on torch 2.0, which has no set_autocast_dtype yet.
        torch.set_autocast_gpu_dtype(getattr(torch, dtype))


def enable_compile(cfg: Config) -> None:
    """Switches torch.compile on, with the config's options for it if it has any.

    Raises:
        MMKDError: If this torch cannot compile with this Python.
    """
    if digit_version(torch.__version__) < digit_version('2.1') and sys.version_info >= (3, 11):
        raise MMKDError(
            f'--compile: torch {torch.__version__} cannot compile under Python 3.11 and later; '
            'the modern dependency set can (tools/setup_env.sh).'
        )
    if not cfg.get('compile'):
        cfg.compile = True


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config that the arguments name and applies what they override.

    Returns:
        The config with ``launcher`` and ``work_dir`` set.

    Raises:
        MMKDError: If there is no such file.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not osp.isfile(args.config):
        raise MMKDError(f'There is no config file {args.config!r}.')
    # Configs may name mmtrack's and mmdet's classes without their scope.
    if find_spec('mmtrack') is not None:
        from mmtrack.utils import register_all_modules

        register_all_modules(init_default_scope=False)
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('work_dirs', name)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """The runner that the config asks for, mmengine's if it does not say."""
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)
