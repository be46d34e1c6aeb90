"""What mmengine's runner needs to know about trackers."""

from .identities import assign_id_offsets
from .optim_wrapper import Bf16OptimWrapper
from .runner import TrackRunner

__all__ = ['Bf16OptimWrapper', 'TrackRunner', 'assign_id_offsets']
