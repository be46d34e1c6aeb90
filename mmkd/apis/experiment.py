"""What tools/train.py and tools/test.py share: one way from a command line to a config."""

from __future__ import annotations

import argparse
import os
import os.path as osp
from importlib.util import find_spec

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

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
