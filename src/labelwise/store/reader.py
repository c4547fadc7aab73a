"""A finished store, read at random places."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.data.views import Boxes
from labelwise.errors import DataError
from labelwise.runs import fingerprint
from labelwise.store.header import StoreHeader, read_header
from labelwise.store.layout import CropLabels, join, unpack
from labelwise.store.shard import Shard, shard_name


@dataclass(frozen=True)
class StoredCrops:
    """B crops with their labels. ``boxes`` is None in a store whose crops are drawn again."""

    boxes: Boxes | None
    labels: CropLabels

    def __len__(self) -> int:
        return len(self.labels)


class Store:
    """The labels of V crops of each of N samples.

    A sample is known by its key (:func:`labelwise.data.dataset.sample_keys`), and by its place in the store, 0 to
    N - 1. Files are mapped into memory, so a store may be larger than it.

    Parameters
    ----------
    folder : written by ``labelwise label``

    Raises
    ------
    DataError
        In one line, if it is no store, or a shard is missing, cut short or of another store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header: StoreHeader = read_header(folder)
        self.layout = self.header.layout
        own, views = self.header.hash, self.header.views_per_sample
        self.shards = [
            Shard(folder / shard_name(number), self.layout, own, views) for number in range(self.header.shards)
        ]
        self._starts = np.cumsum([0, *(shard.samples for shard in self.shards)])
        if len(self) != self.header.samples:
            raise DataError(f"{folder}: has {len(self):,} samples, its store.json says {self.header.samples:,}")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:  # another process maps the files itself
        return Store, (self.folder,)

    def checksum(self) -> str:
        """Sixteen hex digits that two stores share if they are equal byte for byte."""
        return fingerprint([self.header.hash, *(shard.digest() for shard in self.shards)])

    def places(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The place of every sample in the store, -1 where it is not there."""
        order, known = self._by_key
        found = np.searchsorted(known, keys)
        found = np.minimum(found, max(0, len(known) - 1))
        there = known[found] == keys if len(known) else np.zeros(len(keys), dtype=bool)
        return np.where(there, order[found] if len(known) else 0, -1)

    def read(self, places: NDArray[np.int64], views: NDArray[np.int64]) -> StoredCrops:
        """Crops and labels of B (place, view number) pairs.

        Parameters
        ----------
        places : (B,) of the samples
        views : (B,) 0 to V - 1
        """
        number = np.searchsorted(self._starts, places, side="right") - 1
        crop = (places - self._starts[number]) * self.header.views_per_sample + views
        if len(self.shards) == 1:
            return self._decoded(*self._take(0, crop))
        order = np.argsort(number, kind="stable")
        parts = [self._take(shard, crop[rows]) for shard, rows in _runs(number, order)]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        records, entries = join(parts) if parts else self._take(0, crop)
        return self._decoded(records.take(back), entries)

    def _take(self, shard: int, crops: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Copies of records of one shard, and of the entries that they point to."""
        own = self.shards[shard]
        records = own.records.take(crops)  # eight times as fast as an index
        if self.layout.mass is None:
            return records, own.entries
        count = records["count"].astype(np.int64)
        first = np.cumsum(count) - count
        wanted = np.arange(int(count.sum())) + np.repeat(records["first"].astype(np.int64) - first, count)
        records["first"] = first
        return records, own.entries[wanted]

    def _decoded(self, records: NDArray[Any], entries: NDArray[Any]) -> StoredCrops:
        boxes = unpack(records["box"]) if self.layout.boxes else None
        return StoredCrops(boxes, self.layout.decode(records, entries))

    @cached_property
    def _by_key(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Places in the order of their keys, and these keys."""
        keys = np.concatenate([shard.keys for shard in self.shards])
        order = np.argsort(keys, kind="stable")
        return order, keys[order]


def _runs(number: NDArray[np.int64], order: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Every number that occurs, with the rows where it does; ``order`` sorts the rows by number."""
    found = number[order]
    edges = np.flatnonzero(np.r_[True, found[1:] != found[:-1], True]) if len(found) else np.zeros(1, dtype=np.int64)
    for start, stop in itertools.pairwise(edges):
        yield int(found[start]), order[start:stop]
