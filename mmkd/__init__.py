"""Knowledge distillation for visual trackers, inside OpenMMLab."""

from mmengine.registry import utils as _registry_utils  # noqa: F401
from .version import __version__

__all__ = ['__version__']
