"""mmtrack's single-object data sets with attributes, fast and safe training pairs."""

from __future__ import annotations

from .base import AttributeVideos
from .got10k import GOT10kDataset
from .lasot import LaSOTDataset
from .otb100 import OTB100Dataset
from .trackingnet import TrackingNetDataset
from .uav123 import UAV123Dataset

__all__ = [
    'AttributeVideos',
    'GOT10kDataset',
    'LaSOTDataset',
    'OTB100Dataset',
    'TrackingNetDataset',
    'UAV123Dataset',
]
