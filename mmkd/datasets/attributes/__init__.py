"""Which video is hard in which way: tables, files that hold them, and common groups."""

from __future__ import annotations

from .groups import GROUPS, group_of, groups_of
from .load import KINDS, describe, load_attributes, load_under
from .table import SCHEMA, AttributeTable

__all__ = [
    'GROUPS',
    'KINDS',
    'SCHEMA',
    'AttributeTable',
    'describe',
    'group_of',
    'groups_of',
    'load_attributes',
    'load_under',
]
