"""What became of every key in a conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List

from .convert_rules import Kind

_PARTS = {
    'fairmot': 'a FairMOT tracker',
    'centernet': 'a CenterNet detector',
    'backbone': 'the backbone alone',
    'siamrpn': 'a SiamRPN++ tracker',
}


@dataclass
class ConversionReport:
    """What became of every key of a file and of every key of our model.

    Args:
        arch: Our network.
        kind: What the file is.
        head: ``num_classes``, ``feat_channels``, ``embed_dims`` and ``num_ids`` of a tracker.
        mapped: Our key of each source key that was taken.
        dropped: Source keys left behind on purpose, with the reason.
        filled: Our keys that the file need not have, with where their values come from.
        left_out: Source keys of another size than the model's, with both sizes.
        extra: Source keys that no rule knows.
        missing: Our keys that nothing fills.
    """

    arch: str
    kind: Kind
    head: Dict[str, int] = field(default_factory=dict)
    mapped: Dict[str, str] = field(default_factory=dict)
    dropped: Dict[str, str] = field(default_factory=dict)
    filled: Dict[str, str] = field(default_factory=dict)
    left_out: Dict[str, str] = field(default_factory=dict)
    extra: List[str] = field(default_factory=list)
    missing: List[str] = field(default_factory=list)

    def text(self) -> str:
        """The report in lines: counts per part, then everything that is no plain copy."""
        lines = [f'{self.arch}: {self.kind.what}, {_PARTS[self.kind.part]}']
        counts: Dict[str, int] = {}
        for key in self.mapped.values():
            depth = 2 if key.startswith(('head.', 'neck.')) else 1
            part = '.'.join(key.split('.')[:depth])
            counts[part] = counts.get(part, 0) + 1
        lines += [f'  {part:20} {count:5} tensors' for part, count in counts.items()]
        if self.head:
            lines.append('  head: ' + ', '.join(f'{k} {v}' for k, v in self.head.items()))
        for title, keys in (
            ('dropped', self.dropped),
            ('filled in', self.filled),
            ('of another size', self.left_out),
        ):
            for reason in dict.fromkeys(keys.values()):
                same = [key for key, value in keys.items() if value == reason]
                lines.append(f'  {title}: {some(same)}: {reason}')
        if self.extra:
            lines.append('  unknown in the file: ' + ', '.join(self.extra))
        if self.missing:
            lines.append('  missing in the file: ' + ', '.join(self.missing))
        return '\n'.join(lines)


def some(keys: List[str], limit: int = 4) -> str:
    """The first few of many keys, and how many there are."""
    text = ', '.join(keys[:limit]) or 'nothing'
    return text + (f' and {len(keys) - limit} more' if len(keys) > limit else '')
