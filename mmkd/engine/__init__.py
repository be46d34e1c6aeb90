"""What mmengine's runner needs to know about trackers."""

from .deferred_log import DeferredRuntimeInfoHook
from .epoch_seed import EpochSeedHook
from .identities import assign_id_offsets
from .optim_wrapper import Bf16OptimWrapper
from .runner import TrackRunner

__all__ = [
    'Bf16OptimWrapper',
    'DeferredRuntimeInfoHook',
    'EpochSeedHook',
    'TrackRunner',
    'assign_id_offsets',
]
