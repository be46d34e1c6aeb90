"""How much each loss counts, and each teacher, found while training goes on."""

from .gradient_ratio import GradientRatio
from .standardize import EMAStandardize
from .teacher_drop import TeacherDrop
from .trust import GateTrust, SoftmaxTrust

__all__ = ['EMAStandardize', 'GateTrust', 'GradientRatio', 'SoftmaxTrust', 'TeacherDrop']
