"""Registries of scope ``mmkd``, each a child of mmengine's root registry.

A config names our classes with their scope (``type='mmkd.FairMOT'``). mmengine then imports this
module by itself and, through ``locations``, the packages that fill the registry, so no
``custom_imports`` is needed and ``default_scope`` may stay ``mmtrack``.
"""

from __future__ import annotations

from importlib.util import find_spec

from mmengine.registry import DATA_SAMPLERS as ROOT_DATA_SAMPLERS
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOG_PROCESSORS as ROOT_LOG_PROCESSORS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPERS as ROOT_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as ROOT_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as ROOT_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as ROOT_RUNNERS
from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import VISBACKENDS as ROOT_VISBACKENDS
from mmengine.registry import VISUALIZERS as ROOT_VISUALIZERS
from mmengine.registry import Registry

# Distillation works for any OpenMMLab model; the trackers and their data need mmtrack.
_HAS_MMTRACK = find_spec('mmtrack') is not None


def _tracking(*locations: str) -> list:
    return list(locations) if _HAS_MMTRACK else []


MODELS = Registry(
    'model',
    parent=ROOT_MODELS,
    scope='mmkd',
    locations=['mmkd.distill', *_tracking('mmkd.models')],
)
DATA_SAMPLERS = Registry(
    'data sampler', parent=ROOT_DATA_SAMPLERS, scope='mmkd', locations=['mmkd.datasets.sampler']
)
DATASETS = Registry(
    'dataset',
    parent=ROOT_DATASETS,
    scope='mmkd',
    locations=['mmkd.datasets.replay', *_tracking('mmkd.datasets.mot', 'mmkd.datasets.sot')],
)
TRANSFORMS = Registry(
    'transform', parent=ROOT_TRANSFORMS, scope='mmkd', locations=['mmkd.datasets.transforms']
)
METRICS = Registry('metric', parent=ROOT_METRICS, scope='mmkd', locations=['mmkd.evaluation'])
RUNNERS = Registry('runner', parent=ROOT_RUNNERS, scope='mmkd', locations=['mmkd.engine'])
HOOKS = Registry('hook', parent=ROOT_HOOKS, scope='mmkd', locations=['mmkd.engine'])
OPTIM_WRAPPERS = Registry(
    'optim_wrapper', parent=ROOT_OPTIM_WRAPPERS, scope='mmkd', locations=['mmkd.engine']
)
TASK_UTILS = Registry(
    'task util', parent=ROOT_TASK_UTILS, scope='mmkd', locations=_tracking('mmkd.models')
)
VISUALIZERS = Registry(
    'visualizer', parent=ROOT_VISUALIZERS, scope='mmkd', locations=['mmkd.visualization']
)

# mmengine reads a config inherited as `_base_ = 'mmkd::...'` in our scope and warns of each of its
# parts whose registry has no child there. mmkd adds nothing to these.
for _root in (
    ROOT_LOG_PROCESSORS,
    ROOT_LOOPS,
    ROOT_OPTIMIZERS,
    ROOT_PARAM_SCHEDULERS,
    ROOT_VISBACKENDS,
):
    Registry(_root.name, parent=_root, scope='mmkd', locations=['mmkd.engine'])
