"""What every test needs: mmkd imported before mmtrack, and mmengine's globals as they were."""

import sys

import pytest

import mmkd  # noqa: F401  first, so that mmtrack imports on the modern stack too


@pytest.fixture(autouse=True)
def _default_scope_stays():
    """A runner, or a model made by mmkd.apis, sets the scope in which later configs are read."""
    module = sys.modules.get('mmengine.registry')
    before = dict(module.DefaultScope._instance_dict) if module else {}
    yield
    module = sys.modules.get('mmengine.registry')
    if module is not None:
        module.DefaultScope._instance_dict.clear()
        module.DefaultScope._instance_dict.update(before)
