"""Tests a checkpoint and prints its metrics: mmtrack's tools/test.py, with mmkd registered."""

import argparse
import sys
from typing import Optional

from mmengine.config import Config

from mmkd.apis.experiment import (
    add_common_arguments,
    add_speed_arguments,
    build_runner,
    check_checkpoint,
    enable_compile,
    load_config,
    set_amp_dtype,
)
from mmkd.errors import MMKDError

# Metrics that write their tables to a prefix.
SCORED = ('MOTMetric', 'AttributeSOTMetric')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='test config file; of a KD config the student is tested')
    # mim passes the checkpoint by its place, mmtrack's users by its name.
    parser.add_argument('checkpoint_by_place', nargs='?', metavar='checkpoint', help='weights')
    parser.add_argument('--checkpoint', help='the same, by name')
    parser.add_argument(
        '--scores',
        metavar='PREFIX',
        help='also write the tables of scores to PREFIX.json and PREFIX.csv',
    )
    parser.add_argument(
        '--tracks-dir',
        metavar='DIR',
        help="write every sequence's tracks to DIR/<sequence>.txt, as MOTChallenge's server reads "
        'them',
    )
    add_speed_arguments(parser)
    add_common_arguments(parser)
    args = parser.parse_args()
    if args.checkpoint and args.checkpoint_by_place:
        parser.error('the checkpoint is given twice, by its place and by --checkpoint')
    args.checkpoint = args.checkpoint or args.checkpoint_by_place
    if args.checkpoint is None:
        parser.error('a checkpoint is needed: test.py CONFIG CHECKPOINT')
    return args


def add_outputs(cfg: Config, scores: Optional[str], tracks_dir: Optional[str]) -> None:
    """Tells the evaluators of the config what to write."""
    if cfg.get('test_evaluator') is None:
        if scores or tracks_dir:
            raise MMKDError(
                'The config has no test_evaluator, which --scores and --tracks-dir need.'
            )
        return
    evaluators = cfg.test_evaluator
    evaluators = list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]
    if scores:
        writers = [item for item in evaluators if item.type.split('.')[-1] in SCORED]
        if not writers:
            raise MMKDError(
                f'--scores is written by mmkd.{" and mmkd.".join(SCORED)}, but the config is '
                f'scored by {", ".join(item.type for item in evaluators)}.'
            )
        writers[0].outfile_prefix = scores
    if tracks_dir:
        evaluators.append(dict(type='mmkd.MOTResults', out_dir=tracks_dir))
    cfg.test_evaluator = evaluators


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    add_outputs(cfg, args.scores, args.tracks_dir)
    if args.amp or args.amp_dtype:
        cfg.test_cfg.fp16 = True
        set_amp_dtype(args.amp_dtype)
    if args.compile:
        enable_compile(cfg)
    check_checkpoint(args.checkpoint)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    build_runner(cfg).test()


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
