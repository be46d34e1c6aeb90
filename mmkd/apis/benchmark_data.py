"""How fast training pipelines make samples: several of them, in turns."""

from __future__ import annotations

import random
import time
from statistics import median
from typing import Any, Dict, List, NamedTuple

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd.errors import MMKDError
from mmkd.registry import DATASETS

CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


class Arm(NamedTuple):
    """One training set.

    Attributes:
        name: For the table.
        dataset: With its pipeline.
    """

    name: str
    dataset: Any


def arm(name: str, cfg: Config) -> Arm:
    """The training set of a config.

    Raises:
        MMKDError: It has none, or an empty one.
    """
    loader = cfg.get('train_dataloader') or {}
    if not loader.get('dataset'):
        raise MMKDError(f'{name} has no train_dataloader.dataset.')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    dataset = DATASETS.build(loader['dataset'])
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    if not len(dataset):
        raise MMKDError(f'The training set of {name} is empty.')
    return Arm(name, dataset)


def benchmark(
    arms: List[Arm], samples: int, rounds: int, clock: str = 'wall', seed: int = 0
) -> Dict[str, Dict[str, float]]:
    """Times arms in turns, in one process without workers, with one thread of OpenCV.

    In a round each arm makes the same samples from the same random numbers; the order of the arms
    is another one in each round, and the first round is not counted.

    Args:
        arms: At least one; ratios are to the first.
        samples: Of each arm in a round.
        rounds: That are counted.
        clock: 'wall', or 'cpu' if others use the machine.
        seed: Of which samples and augmentations.

    Returns:
        By arm ``ms`` a sample (median of rounds) and ``speed``, the median of its rate over the
        first arm's within a round.
    """
    if samples < 1 or rounds < 1:
        raise MMKDError('A benchmark takes at least one sample and one round.')
    now = CLOCKS[clock]
    spent: Dict[str, List[float]] = {each.name: [] for each in arms}
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        for number in range(rounds + 1):
            order = list(arms)
            random.Random(number).shuffle(order)
            for each in order:
                np.random.seed(seed + number)
                random.seed(seed + number)
                indices = np.random.randint(len(each.dataset), size=samples)
                begun = now()
                for index in indices:
                    each.dataset[int(index)]
                if number:
                    spent[each.name].append((now() - begun) / samples)
    finally:
        cv2.setNumThreads(threads)
    first = spent[arms[0].name]
    return {
        name: dict(
            ms=1e3 * median(own), speed=median(base / mine for base, mine in zip(first, own))
        )
        for name, own in spent.items()
    }
