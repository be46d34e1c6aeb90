"""What tests of more than one benchmark need."""

import pytest
from mmengine.logging import MessageHub


@pytest.fixture
def progress_stays():
    """Benchmarks tell schedules that it is mid-training; other tests train from the beginning."""
    info = MessageHub.get_current_instance().runtime_info
    before = dict(info)
    yield
    info.clear()
    info.update(before)


class Clock:
    """Goes on by what tests say, and by a thousandth for each look at it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 0.001
        return self.now

    def perf_counter(self):
        return self()


@pytest.fixture
def clock():
    """A clock that no load of the machine moves."""
    return Clock()
