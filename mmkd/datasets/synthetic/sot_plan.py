"""Which video of a synthetic SOT set has which attributes, decided before anything is drawn.

Names are LaSOT's (Fan et al., CVPR 2019, table 2), and SOB of UAV123 (Mueller et al., ECCV 2016).
DEF and VC have no counterpart here: the targets are flat and rigid.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Tuple

import numpy as np

from mmkd.errors import MMKDError, nearest

ATTRIBUTES = (
    'IV',
    'POC',
    'MB',
    'CM',
    'ROT',
    'BC',
    'SV',
    'FOC',
    'FM',
    'OV',
    'LR',
    'ARC',
    'SOB',
)
# Nothing vanishes behind a wall without being half behind it first.
IMPLIED = {'FOC': ('POC',)}
DEFAULT_SHARE = 0.2
SPLITS = ('train', 'test')
# A turning rectangle changes its box's aspect ratio and area, a turning blob hardly does.
ROUND_KINDS = ('blob', 'star')
KINDS = ('blob', 'star', 'tile', 'car')


class VideoPlan(NamedTuple):
    """One video to be drawn."""

    name: str  # '<kind>-<number>', LaSOT's way of naming
    split: str
    kind: str
    attributes: FrozenSet[str]
    seed: Tuple[int, ...]  # the entropy of its random generator


def plan_videos(
    counts: Dict[str, int], seed: int = 0, shares: Dict[str, float] | None = None
) -> List[VideoPlan]:
    """Deals attributes out to videos.

    An attribute with share p is switched on in exactly ``round(p * count)`` videos of each split
    (and where another one implies it), independently of the others: the mean is 2.6 attributes.

    Args:
        counts: Number of videos of each split, by split.
        seed: Of the set. Two splits, and two sets with different seeds, have no video in common:
            neither sprites nor paths nor backgrounds.
        shares: Attribute -> share of the videos that have it, 0..1; others have 0.2.

    Raises:
        MMKDError: If a name or a share is not valid.
    """
    chosen = dict.fromkeys(ATTRIBUTES, DEFAULT_SHARE)
    chosen.update(shares or {})
    check_names(chosen)
    for name, share in chosen.items():
        if not 0 <= share <= 1:
            raise MMKDError(f'The share of {name} must be within 0 and 1, not {share}.')
    plans: List[VideoPlan] = []
    numbers = dict.fromkeys(KINDS, 0)
    for split, count in counts.items():
        if split not in SPLITS:
            raise MMKDError(f"There is no split '{split}'. {nearest(split, SPLITS)}")
        code = SPLITS.index(split)
        rng = np.random.default_rng((seed, code))
        has = {}
        for name in ATTRIBUTES:
            order = rng.permutation(count)
            has[name] = set(order[: round(chosen[name] * count)].tolist())
        for index in range(count):
            attributes = with_implied(name for name in ATTRIBUTES if index in has[name])
            kinds = KINDS
            if 'ROT' in attributes and not {'ARC', 'SV'} <= attributes:
                kinds = ROUND_KINDS
            kind = str(rng.choice(kinds))
            numbers[kind] += 1
            plans.append(
                VideoPlan(f'{kind}-{numbers[kind]}', split, kind, attributes, (seed, code, index))
            )
    return plans


def with_implied(names: Iterable[str]) -> FrozenSet[str]:
    """The attributes and those that cannot but come with them."""
    wanted = set(names)
    check_names(wanted)
    return frozenset(wanted.union(*(IMPLIED.get(name, ()) for name in wanted)))


def check_names(names: Iterable[str]) -> None:
    """Raises MMKDError for a name that is no attribute of the generator."""
    for name in names:
        if name not in ATTRIBUTES:
            raise MMKDError(f"The generator has no attribute '{name}'. {nearest(name, ATTRIBUTES)}")
