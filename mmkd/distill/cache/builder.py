"""Computes and writes what a cache lacks."""

from __future__ import annotations

import contextlib
import os
import os.path as osp
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import torch
from mmengine.model import ModuleDict
from torch import Tensor

from mmkd.errors import MMKDError

from .claims import STALE_S, Claim
from .codec import Codec, parse_storage, places_of
from .encoded import Encoded
from .fidelity import Fidelity, compare, summarise
from .layout import SHARDS, Layout, make_folders, seal_file, shard_file
from .manifest import Manifest, differences, refuse
from .publish import sweep
from .reader import CacheReader
from .shards import BadShardError, Record, read_seal, verify_shard, write_shard
from .store import exists, load_codecs, make_codecs, save_codecs

# A shard is a file of about this many bytes: enough for a disk, little to do again.
SHARD_BYTES = 128 << 20
# Left free on the disk.
_RESERVE = 0.02

Item = Tuple[int, int]
# Items to their pictures as the teacher reads them, and (H, W) of the student's input.
Batch = Tuple[List[Item], Any, List[Tuple[int, int]]]


class Plan(NamedTuple):
    """What a cache will be.

    Attributes:
        manifest: Of the whole.
        record: Bytes of one record.
        total: Bytes of all.
        free: Bytes on the disk.
    """

    manifest: Manifest
    record: int
    total: int
    free: int


def plan(
    path: str,
    samples: int,
    variants: int,
    shapes: Dict[str, Tuple[int, ...]],
    shard_bytes: int = SHARD_BYTES,
    **fields: Any,
) -> Plan:
    """Works out sizes before anything is written.

    Args:
        path: The cache's folder; it need not be there.
        samples: Of the data set.
        variants: Kept of each.
        shapes: Feature to (frames, channels, ...) of one record.
        shard_bytes: About the size of a shard.
        fields: Of the manifest.
    """
    storage = parse_storage(fields['storage'])
    record = sum(shape[0] * Codec(storage, shape[1]).size(shape[1:]) for shape in shapes.values())
    per_shard = max(1, min(shard_bytes // max(record, 1), samples * variants))
    layout = Layout(samples, variants, per_shard)
    manifest = Manifest(
        layout=layout, features=tuple(shapes), shapes=dict(shapes), report={}, **fields
    )
    # Headers: a name, a type, a shape and a place for each tensor.
    overhead = layout.records * (120 * len(shapes) + 40)
    folder = osp.abspath(path)
    while not osp.isdir(folder):
        folder = osp.dirname(folder)
    return Plan(
        manifest, record, layout.records * record + overhead, shutil.disk_usage(folder).free
    )


def check_room(planned: Plan, path: str, done: int = 0) -> None:
    """Raises:
    MMKDError: The disk cannot hold what is still to be written.

    Args:
        planned: The cache.
        path: Its folder, for the message.
        done: Bytes that are there already.
    """
    needed = planned.total - done
    if needed > planned.free * (1 - _RESERVE):
        raise MMKDError(
            f"The cache '{path}' would take {needed / 1e9:.1f} GB more, but its disk has "
            f'{planned.free / 1e9:.1f} GB free. Another path=, fewer variants= '
            f"(now {planned.manifest.layout.variants}), or storage='pca-128-int8' "
            f'(now {planned.manifest.storage!r}) helps.'
        )


def begin(
    path: str, manifest: Manifest, fit: Callable[[Manifest], Tuple[ModuleDict, Dict]]
) -> Tuple[Manifest, ModuleDict]:
    """Makes the cache's folder, or joins a build that was begun.

    One process fits the codecs, the others wait for it.

    Args:
        path: The folder.
        manifest: What the cache is to be.
        fit: Makes the codecs and the report of how near they are.

    Returns:
        The manifest as it lies there, and codecs.

    Raises:
        MMKDError: There is a cache of something else.
    """
    make_folders(path)
    for folder in (path, osp.join(path, SHARDS)):
        sweep(folder, STALE_S, time.time())
    claim = Claim(path, -1)
    while not exists(path):
        if claim.take():
            try:
                if not exists(path):
                    with claim.kept():
                        codecs, report = fit(manifest)
                    save_codecs(path, manifest, codecs)
                    # Last: whoever sees the manifest finds everything else.
                    replace(manifest, report=report).save(path)
            finally:
                claim.release()
        else:
            time.sleep(0.2)
    saved = Manifest.load(path)
    now = {
        name: getattr(manifest, name)
        for name in ('mode', 'storage', 'features', 'layout', 'seed', 'canvas', 'teacher', 'data',
                     'augmentation')
    }  # fmt: skip
    refuse(path, differences(saved, **now), 'configuration')
    channels = {name: shape[1] for name, shape in saved.shapes.items()}
    return saved, load_codecs(path, saved, channels)


def fit_codecs(
    manifest: Manifest, features: Iterable[Dict[str, Tensor]]
) -> Tuple[ModuleDict, Dict[str, Dict[str, float]]]:
    """Fits codecs to the first half of a sample and measures them on the other.

    Args:
        manifest: What the cache is to be.
        features: The teacher's, of some samples, one dict for each batch; two at least.

    Returns:
        The codecs, and by feature ``explained``, ``cosine``, ``lowest`` and ``error``.
    """
    batches = list(features)
    channels = {name: shape[1] for name, shape in manifest.shapes.items()}
    codecs = make_codecs(manifest, channels)
    report: Dict[str, Dict[str, float]] = {}
    half = max(1, len(batches) // 2)
    for name, codec in codecs.items():
        explained = 1.0
        if codec.storage.fitted:
            seen = torch.cat([places_of(batch[name].float()).cpu() for batch in batches[:half]])
            explained = codec.fit(seen)
        parts = []
        for batch in batches[half:] or batches:
            value = batch[name].float().cpu()
            parts.append(compare(codec.decode(codec.encode(value)), value))
        whole = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        found: Fidelity = summarise(whole)
        report[name] = dict(explained=explained, **found._asdict())
    return codecs, report


class Work:
    """The shards that this process builds: claimed one by one as it gets to them.

    Iterating gives batches of items, none of which reaches over two shards: a batch sampler.

    Args:
        path: The cache's folder.
        layout: Of its records.
        batch: Items at most in a batch.
        start: Shard to look at first, so that processes do not all begin at the same one.
    """

    def __init__(self, path: str, layout: Layout, batch: int, start: int = 0):
        self.path, self.layout, self.batch, self.start = path, layout, batch, start
        self.claims: Dict[int, Claim] = {}

    def __iter__(self) -> Iterator[List[Item]]:
        count = self.layout.shards
        for step in range(count):
            number = (self.start + step) % count
            claim = Claim(self.path, number)
            if self._is_built(number):
                claim.sweep()
                continue
            if not claim.take():
                continue
            if self._is_built(number):
                # Finished between the look and the claim.
                claim.release()
                continue
            self.claims[number] = claim
            items = self.layout.items(number)
            for first in range(0, len(items), self.batch):
                yield items[first : first + self.batch]

    def _is_built(self, number: int) -> bool:
        try:
            return read_seal(self.path, number) is not None
        except BadShardError:
            return False

    def refresh(self) -> None:
        """Signs of life of all that is claimed."""
        for claim in self.claims.values():
            claim.refresh()

    def release(self) -> None:
        """Gives up what was not finished."""
        for claim in self.claims.values():
            claim.release()
        self.claims = {}


class Builder:
    """Writes the shards of one process.

    Args:
        path: The cache's folder.
        manifest: Of the cache, as it lies there.
        codecs: Of its features, on the teacher's device.
        teacher: Pictures to features, as ``Teacher.forward``.
    """

    def __init__(
        self,
        path: str,
        manifest: Manifest,
        codecs: ModuleDict,
        teacher: Callable[[Any], Dict[str, Tensor]],
    ):
        self.path, self.manifest, self.codecs, self.teacher = path, manifest, codecs, teacher
        self.owner = manifest.owner

    def run(
        self,
        work: Work,
        batches: Iterable[Batch],
        told: Optional[Callable[[int], None]] = None,
    ) -> int:
        """Builds what ``work`` gives out.

        The disk is written to in a thread, while the teacher runs on; and a GPU's features come
        over while it runs on the next batch.

        Args:
            work: Whose batches these are.
            batches: Pictures of them, in order.
            told: Called with the number of records after each batch.

        Returns:
            How many shards were written.
        """
        layout = self.manifest.layout
        records: List[Record] = []
        sizes: List[Tuple[int, int]] = []
        written: List[Future] = []
        with ThreadPoolExecutor(1) as disk:
            try:
                for items, encoded, pictures in self._encoded(batches):
                    records += encoded.records()
                    sizes += pictures
                    work.refresh()
                    number = layout.place(*items[-1]).shard
                    if len(records) == layout.rows(number):
                        written.append(
                            disk.submit(self._write, work.claims[number], number, records, sizes)
                        )
                        records, sizes = [], []
                        if len(written) > 1:
                            # Two shards in memory at most.
                            written[-2].result()
                    if told is not None:
                        told(len(items))
                for each in written:
                    each.result()
            finally:
                disk.shutdown(wait=True)
                work.release()
        return len(written)

    def _encoded(self, batches: Iterable[Batch]) -> Iterator[Tuple[List[Item], Encoded, List]]:
        """Batches in order, each handed on when the next one has been launched."""
        ahead: List[Tuple[List[Item], Encoded, List]] = []
        for items, images, pictures in batches:
            ahead.append((items, self.encode(images, len(items)), pictures))
            # On a processor there is nothing to wait for.
            while ahead and len(ahead) > int(ahead[0][1].is_under_way):
                yield ahead.pop(0)
        yield from ahead

    def encode(self, images: Any, count: int) -> Encoded:
        """Launches a batch.

        Args:
            images: Of ``count`` samples.
            count: How many.
        """
        with torch.no_grad():
            features = self.teacher(images)
            found = {name: codec.encode(features[name]) for name, codec in self.codecs.items()}
        return Encoded(found, count)

    def _write(
        self, claim: Claim, number: int, records: List[Record], sizes: List[Tuple[int, int]]
    ) -> None:
        write_shard(self.path, number, self.owner, records, sizes)
        claim.release()


def verify(path: str, repair: bool = False) -> Dict[int, str]:
    """Reads every byte of a cache.

    Args:
        path: Its folder.
        repair: Whether damaged shards are taken out, so that the next build makes them anew.

    Returns:
        Shard to what is wrong with it, missing ones included.
    """
    reader = CacheReader(path)
    owner, layout = reader.manifest.owner, reader.layout
    found: Dict[int, str] = {}
    for number in layout.numbers:
        try:
            verify_shard(path, number, owner, layout.rows(number))
        except FileNotFoundError:
            found[number] = 'not built'
        except BadShardError as error:
            found[number] = str(error)
            if repair:
                _take_out(path, number)
    return found


def _take_out(path: str, number: int) -> None:
    # The seal first: without it the shard is not there.
    for file in (seal_file(path, number), shard_file(path, number)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)


def built_bytes(path: str) -> int:
    """Bytes of the shards that are complete."""
    total = 0
    if not exists(path):
        return total
    reader = CacheReader(path)
    for number in reader.layout.numbers:
        try:
            seal = read_seal(path, number)
        except BadShardError:
            seal = None
        total += seal.size if seal is not None else 0
    return total
