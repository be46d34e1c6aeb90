"""Is a specialist special? Task losses of a config's teachers on pairs, per attribute.

    python tools/analysis_tools/compare_teachers.py CONFIG \\
        --cfg-options train_dataloader.dataset.ann_file=annotations/test_infos.txt

CONFIG distils with mmkd.SpecializedTeacherDistiller; what is asked about are samples of its
training set, so that another annotation file there asks about videos that no teacher has seen. In
brackets is by how much a specialist's loss is below the general teacher's, in standard errors.
"""

from __future__ import annotations

import argparse
import sys

import torch
from mmengine.config import DictAction

from mmkd.apis.compare_teachers import teacher_losses
from mmkd.apis.experiment import load_config
from mmkd.errors import MMKDError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--pairs', type=int, default=960, help='samples (default 960)')
    parser.add_argument('--batch', type=int, default=16, help='at once (default 16)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    args.launcher, args.local_rank, args.work_dir = 'none', 0, None
    return args


def main() -> None:
    args = parse_args()
    if args.pairs < 1 or args.batch < 1:
        raise MMKDError('--pairs and --batch are 1 or more.')
    table = teacher_losses(load_config(args), args.pairs, args.batch, args.seed, args.device)
    names = list(next(iter(table.values())))
    print(f'| attribute | samples | {" | ".join(names)} |')
    print(f'| :-- | --: |{" --: |" * len(names)}')
    for attribute, rows in table.items():
        cells = []
        for name, row in rows.items():
            told = f'{row.loss:.4f}'
            if name != 'general' and row.error > 0:
                told += f' ({row.less / row.error:+.1f})'
            cells.append(told)
        samples = next(iter(rows.values())).samples
        print(f'| {attribute} | {samples} | {" | ".join(cells)} |')


if __name__ == '__main__':
    try:
        main()
    except MMKDError as error:
        sys.exit(f'error: {error}')
