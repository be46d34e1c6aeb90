"""Writes configs/kd/ablations/ from one table.

    python tools/misc/make_ablation_configs.py

The test of these files fails when one differs from what this writes, so a change is made here.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Dict, List, NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'kd' / 'ablations'
WIDTH = 100


class Ablation(NamedTuple):
    """One setting: what a file of the folder differs by."""

    size: str = 'base'
    loss: str = 'cosine'
    transform: str = 'single'
    alpha: float = 0.5
    as_published: bool = False

    @property
    def name(self) -> str:
        """The file's, without .py; no two settings share one, nor a folder of results."""
        suffix = '_as_published' if self.as_published else ''
        alpha = f'alpha{round(100 * self.alpha):03d}'
        return f'fairmot_dinov2-{self.size}_{self.loss}_{self.transform}_{alpha}{suffix}'


# The table. The best setting of the paper is what an Ablation() is.
SIZES = ('small', 'base', 'large')
LOSSES = {'cosine': 'mmkd.CosineDistillLoss', 'mse': 'mmkd.MSEDistillLoss'}
TRANSFORMS = ('single', 'multi')
ALPHAS = (0.25, 0.5, 0.75)
GRID = [Ablation(*setting) for setting in product(SIZES, LOSSES, TRANSFORMS, ALPHAS)]
# The published jobs changed one thing at a time; so do the files that follow its code.
PUBLISHED = [
    Ablation(as_published=True, **change)
    for change in (
        dict(),
        dict(alpha=0.25),
        dict(alpha=0.75),
        dict(loss='mse'),
        dict(transform='multi'),
        dict(size='small'),
        dict(size='large'),
    )
]

TEMPLATE = """\
# {title}
# Written by tools/misc/make_ablation_configs.py; README.md here explains.
_base_ = './_base_/half_mot17.py'

model = dict(
    {teacher},
    distill=[
        dict(
            student='neck',
            teacher='last',
            {transform},
            {loss},
        )
    ],
    alpha={alpha},{mask}
)
"""


def content(ablation: Ablation) -> str:
    """The file of one setting."""
    teacher = dict(arch=ablation.size)
    transform = dict(type='mmkd.FeatureTransform')
    loss = dict(type=LOSSES[ablation.loss])
    if ablation.transform == 'multi':
        transform.update(layers='multi')
    if ablation.as_published:
        teacher.update(input_size=(1088, 608))
        if ablation.transform == 'multi':
            transform.update(last_relu=True, resize='last')
        if ablation.loss == 'cosine':
            loss.update(flatten=True)
    published = ', as the published code has it' if ablation.as_published else ''
    return TEMPLATE.format(
        title=f'DINOv2 {ablation.size}, {ablation.loss}, {ablation.transform} transform, '
        f'alpha {ablation.alpha}{published}.',
        teacher=entry('teacher', teacher, indent=4),
        transform=entry('transform', transform, indent=12),
        loss=entry('loss', loss, indent=12),
        alpha=ablation.alpha,
        mask='\n    mask=False,' if ablation.as_published else '',
    )


def entry(key: str, value: dict, indent: int) -> str:
    """``key=dict(...)``, broken as ruff breaks a line that is too long."""
    inner = ', '.join(f'{name}={item!r}' for name, item in value.items())
    line = f'{key}=dict({inner})'
    if indent + len(line) + len(',') <= WIDTH:
        return line
    return f'{key}=dict(\n{" " * (indent + 4)}{inner}\n{" " * indent})'


def files() -> Dict[str, str]:
    """Name of every file to its content."""
    return {f'{ablation.name}.py': content(ablation) for ablation in [*GRID, *PUBLISHED]}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    wanted = files()
    stale: List[Path] = [path for path in FOLDER.glob('*.py') if path.name not in wanted]
    for path in stale:
        path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
    print(f'{len(wanted)} configs written to {FOLDER}, {len(stale)} others removed.')


if __name__ == '__main__':
    main()
