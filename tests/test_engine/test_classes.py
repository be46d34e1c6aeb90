from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger

from mmkd.engine.classes import check_classes
from mmkd.errors import MMKDError


def data(*names):
    return SimpleNamespace(num_ids=1, metainfo=dict(classes=names))


def test_a_class_without_an_output_is_refused_by_name():
    mixture = SimpleNamespace(datasets=[data('person'), data('person', 'car')])
    told = r'datasets\[1\] has 2 classes \(person, car\).*num_classes=2'
    with pytest.raises(MMKDError, match=told):
        check_classes(mixture, 1)


def test_as_many_pass_in_silence(caplog):
    MMLogger.get_current_instance().addHandler(caplog.handler)
    check_classes(data('person', 'car'), 2)
    check_classes(SimpleNamespace(num_ids=1), 2)  # says nothing of classes
    assert not caplog.records


def test_an_output_without_a_class_is_warned_of(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    check_classes(data('person'), 2)
    logger.removeHandler(caplog.handler)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
