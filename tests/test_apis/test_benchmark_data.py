import time

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmkd.apis.benchmark_data import Arm, arm, benchmark
from mmkd.errors import MMKDError

from ..replay_toy import draw_pictures


class Slow:
    """Takes its time, and notes which samples it is asked for."""

    def __init__(self, seconds):
        self.seconds, self.asked = seconds, []

    def __len__(self):
        return 100

    def __getitem__(self, index):
        self.asked.append((index, float(np.random.rand())))
        time.sleep(self.seconds)


def test_arms_make_the_same_samples_and_ratios_are_to_the_first():
    slow, fast = Slow(0.03), Slow(0.01)
    found = benchmark([Arm('slow', slow), Arm('fast', fast)], samples=4, rounds=3)
    assert sorted(slow.asked) == sorted(fast.asked)
    assert len(slow.asked) == 4 * (3 + 1), 'the first round warms up'
    assert found['slow']['speed'] == 1
    assert 1.3 < found['fast']['speed'] < 6
    assert found['slow']['ms'] > 30


def test_time_of_the_processor_does_not_count_sleep():
    found = benchmark([Arm('slow', Slow(0.02))], samples=2, rounds=1, clock='cpu')
    assert found['slow']['ms'] < 15


def test_opencv_has_its_threads_back():
    before = cv2.getNumThreads()
    benchmark([Arm('a', Slow(0))], samples=1, rounds=1)
    assert cv2.getNumThreads() == before


def test_a_config_is_an_arm(tmp_path):
    dataset = dict(type='mmkd.ToyPictures', root=draw_pictures(tmp_path / 'pictures'))
    made = arm('toy', Config(dict(train_dataloader=dict(dataset=dataset))))
    assert len(made.dataset) == 6
    with pytest.raises(MMKDError, match='toy has no train_dataloader'):
        arm('toy', Config(dict()))
    (tmp_path / 'none').mkdir()
    empty = dict(type='mmkd.ToyPictures', root=tmp_path / 'none')
    with pytest.raises(MMKDError, match='The training set of toy is empty'):
        arm('toy', Config(dict(train_dataloader=dict(dataset=empty))))
    with pytest.raises(MMKDError, match='at least one sample'):
        benchmark([made], samples=0, rounds=1)
