"""One vocabulary for what makes tracking hard.

Every benchmark has its own short names: LaSOT says POC and FOC, OTB says OCC, VL-SOT500 says PO
and FO. A group is what they have in common, so that one specialised teacher or one row of a table
can be meant for all of them. The names of a data set itself are kept beside the groups.
"""

from __future__ import annotations

from typing import Dict, Iterable, Tuple

from mmkd.errors import MMKDError, nearest

# Group -> names that belong to it, in the spelling of the benchmarks' papers and toolkits: LaSOT
# (CVPR 2019), OTB-2015 (TPAMI 37:9), UAV123 (ECCV 2016), VL-SOT500, and the words of our own
# synthetic sequences. Which benchmark has which: docs/sot_data.md.
GROUPS: Dict[str, Tuple[str, ...]] = {
    'occlusion': ('POC', 'FOC', 'OCC', 'PO', 'FO'),
    'fast_motion': ('FM',),
    'motion_blur': ('MB', 'blur'),
    'out_of_view': ('OV',),
    'scale_variation': ('SV', 'scale_change'),
    'aspect_ratio_change': ('ARC', 'ARV'),
    'low_resolution': ('LR',),
    'background_clutter': ('BC',),
    'illumination_variation': ('IV', 'illumination'),
    'deformation': ('DEF',),
    'rotation': ('ROT', 'IPR', 'OPR'),
    'viewpoint_change': ('VC',),
    'camera_motion': ('CM',),
    'similar_object': ('SOB', 'SD'),
}
_GROUP_OF = {name.lower(): group for group, names in GROUPS.items() for name in (group, *names)}


def group_of(name: str) -> str | None:
    """The group of an attribute, or None where no other benchmark has anything like it.

    Args:
        name: Of an attribute, in any case; a group's own name counts too.
    """
    return _GROUP_OF.get(name.lower())


def groups_of(names: Iterable[str]) -> Tuple[str, ...]:
    """The groups of several attributes, each once, in the order of :data:`GROUPS`."""
    found = {group_of(name) for name in names}
    return tuple(group for group in GROUPS if group in found)


def check_groups(names: Iterable[str], where: str) -> Tuple[str, ...]:
    """Refuses what is no group.

    Args:
        names: To check; one string is one name.
        where: The option that holds them, for the message.

    Raises:
        MMKDError: With the nearest group.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in GROUPS:
            raise MMKDError(f"{where}: there is no group '{name}'. {nearest(name, GROUPS)}")
    return names
