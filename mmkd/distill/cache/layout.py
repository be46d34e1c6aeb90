"""Where a record of a cache stands: arithmetic, so that there is no index to fall out of step."""

from __future__ import annotations

import os
import os.path as osp
from typing import List, NamedTuple, Tuple

from mmkd.errors import MMKDError

MANIFEST = 'manifest.json'
CODEC = 'codec.safetensors'
SHARDS = 'shards'


class Place(NamedTuple):
    """Where one record stands."""

    shard: int
    row: int


class Layout(NamedTuple):
    """How samples and their variants are spread over shards.

    Record ``sample * variants + variant`` is number ``record % per_shard`` of shard
    ``record // per_shard``.

    Attributes:
        samples: Of the data set.
        variants: Augmentations kept of each; in warp mode the picture and its mirror image.
        per_shard: Records in one file.
    """

    samples: int
    variants: int
    per_shard: int

    @property
    def records(self) -> int:
        """All of them."""
        return self.samples * self.variants

    @property
    def shards(self) -> int:
        """Files that hold them."""
        return -(-self.records // self.per_shard)

    def place(self, sample: int, variant: int) -> Place:
        """Raises:
        MMKDError: There is no such record.
        """
        if not (0 <= sample < self.samples and 0 <= variant < self.variants):
            raise MMKDError(
                f'The cache has no variant {variant} of sample {sample}: it was built for '
                f'{self.samples} samples with {self.variants} variant(s) each.'
            )
        return Place(*divmod(sample * self.variants + variant, self.per_shard))

    def rows(self, shard: int) -> int:
        """How many records a shard has; the last one may have fewer."""
        return min(self.per_shard, self.records - shard * self.per_shard)

    def items(self, shard: int) -> List[Tuple[int, int]]:
        """(sample, variant) of each row of a shard."""
        first = shard * self.per_shard
        return [divmod(first + row, self.variants) for row in range(self.rows(shard))]

    @property
    def numbers(self) -> range:
        """The shards'."""
        return range(self.shards)


def shard_file(path: str, shard: int) -> str:
    """The file that holds a shard's records."""
    return osp.join(path, SHARDS, f'{shard:06d}.safetensors')


def seal_file(path: str, shard: int) -> str:
    """The file that says that a shard is complete, and what its bytes are."""
    return osp.join(path, SHARDS, f'{shard:06d}.json')


def claim_file(path: str, shard: int) -> str:
    """The file that says who is building a shard."""
    return osp.join(path, SHARDS, f'{shard:06d}.claim')


def make_folders(path: str) -> None:
    """Makes the folders of a cache."""
    os.makedirs(osp.join(path, SHARDS), exist_ok=True)
