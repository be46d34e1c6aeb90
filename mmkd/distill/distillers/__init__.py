"""Models that train a student with a teacher, and save the student."""

from .distiller import Distiller
from .feature_distiller import FeatureDistiller
from .specialized_distiller import SpecializedTeacherDistiller

__all__ = ['Distiller', 'FeatureDistiller', 'SpecializedTeacherDistiller']
