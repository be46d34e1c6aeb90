"""Losses between what a student and a teacher give, one of a paper each.

A loss is a function of (student, teacher, mask); see :class:`.common.DistillLoss`. Names are
the field's: a method has its own (CWDLoss, FGDLoss), and what everybody knows by a name
that a task loss has, too, is told apart from it (MSEDistillLoss, KLDistillLoss).
"""

from .adaptive_hard import AdaptiveHardLoss
from .anchor_kl import AnchorKLDistillLoss
from .anchor_regression import AnchorRegressionDistillLoss
from .attention import ATLoss
from .cosine import CosineDistillLoss
from .cwd import CWDLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .embedding import EmbeddingDistillLoss
from .fgd import FGDLoss
from .fitnet import FitNetLoss
from .heatmap import HeatmapDistillLoss
from .kl import KLDistillLoss
from .mgd import MGDLoss
from .mse import MSEDistillLoss
from .pkd import PKDLoss
from .rkd import RKDLoss
from .similarity import SPLoss
from .smooth_l1 import SmoothL1DistillLoss
from .target_response import TargetResponseDistillLoss
from .temporal import TemporalRelationalLoss

__all__ = [
    'ATLoss',
    'AdaptiveHardLoss',
    'AnchorKLDistillLoss',
    'AnchorRegressionDistillLoss',
    'CWDLoss',
    'CosineDistillLoss',
    'DISTLoss',
    'DKDLoss',
    'EmbeddingDistillLoss',
    'FGDLoss',
    'FitNetLoss',
    'HeatmapDistillLoss',
    'KLDistillLoss',
    'MGDLoss',
    'MSEDistillLoss',
    'PKDLoss',
    'RKDLoss',
    'SPLoss',
    'SmoothL1DistillLoss',
    'TargetResponseDistillLoss',
    'TemporalRelationalLoss',
]
