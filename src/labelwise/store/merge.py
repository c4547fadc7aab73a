"""Several stores of different samples as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelwise.errors import DataError
from labelwise.store.header import COUNTS, StoreHeader, claim, first_difference, sample_hash
from labelwise.store.reader import Store
from labelwise.store.shard import ShardContent, shard_name, write_shard


def merge(folders: Sequence[Path], out: Path) -> StoreHeader:
    """Write a store with the samples of ``folders``, one after the other.

    An interrupted merge is continued: shards are rewritten. The header of the new store names no number of samples per
    shard, since the last shards of its parts may be smaller.

    Raises
    ------
    DataError
        If the stores differ in more than their samples, with the key; if a sample is in two of them; if one is damaged;
        or if ``out`` holds anything else.
    """
    stores = [Store(folder) for folder in folders]
    first = stores[0].header
    for store in stores[1:]:
        if (other := first_difference(first, store.header, without=COUNTS)) is not None:
            raise DataError(f"{store.folder}: differs from {stores[0].folder} in {other}; they cannot be one store")
    _refuse_duplicates(stores)
    every = [shard for store in stores for shard in store.shards]
    ids = np.concatenate([shard.ids() for shard in every])
    counts = {"samples": len(ids), "sample_hash": sample_hash(ids.tolist()), "shards": len(every)}
    header = StoreHeader.model_validate(first.to_dict() | counts | {"samples_per_shard": None})
    claim(out, header)
    for number, shard in enumerate(every):
        shard.check()
        content = ShardContent(shard.ids(), shard.records, shard.entries, shard.probes)
        write_shard(out / shard_name(number), header.hash, header.views_per_sample, content)
    return header


def _refuse_duplicates(stores: Sequence[Store]) -> None:
    keys = np.concatenate([shard.keys for store in stores for shard in store.shards])
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(again):
        places = order[again[0] : again[0] + 2]
        ends = np.cumsum([len(store) for store in stores])
        one, two = (stores[int(np.searchsorted(ends, place, side="right"))] for place in places)
        name = np.concatenate([shard.ids() for store in stores for shard in store.shards])[places[0]]
        raise DataError(f"the sample {str(name)!r} is in {one.folder} and in {two.folder}; label it in one of them")
