"""Whether a store is whole: every byte of every shard, and that the shards are those of its header, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelwise.errors import DataError
from labelwise.store.header import HEADER, StoreHeader, read_header, sample_hash
from labelwise.store.shard import DamagedShardError, Shard, shard_name

MOST_MISSING = 1000
"""Missing shards that are named one by one."""


def damages(folder: Path) -> list[str]:
    """What is wrong with a store, a line for each file; empty for a store that is whole.

    Raises
    ------
    DataError
        If it has no header that can be read.
    """
    header = read_header(folder)
    if (lacking := header.shards - len(_shard_files(folder))) > MOST_MISSING:
        return [f"{folder}: {lacking:,} of {header.shards:,} shards are missing; run `labelwise label` again"]
    found: list[str] = []
    foreign: list[str] = []
    ids: list[str] = []
    for number in range(header.shards):
        try:
            shard = open_shard(folder, header, number)
            shard.check()
            ids += shard.ids().tolist()
        except DamagedShardError as error:
            found.append(str(error))
        except DataError as error:
            foreign.append(str(error))
    if foreign and len(foreign) + len(found) == header.shards:  # then it is the header that has changed
        return [*found, f"{folder / HEADER}: does not belong to the shards beside it; was it changed?"]
    if not found and not foreign and (len(ids) != header.samples or sample_hash(ids) != header.sample_hash):
        found.append(f"{folder}: its shards are whole, but their samples are not those of {HEADER}, in their order")
    return found + foreign


def open_shard(folder: Path, header: StoreHeader, number: int) -> Shard:
    """A shard of the store in ``folder``; raises as :class:`labelwise.store.shard.Shard` does."""
    return Shard(folder / shard_name(number), header.layout, header.hash, header.views_per_sample)


def _shard_files(folder: Path) -> list[Path]:
    """What is there, which takes no longer where a header promises more."""
    return [file for file in folder.glob("*.bin") if file.stem.isdigit()]


def describe(folder: Path) -> dict[str, Any]:
    """What a store is, in plain values: its header, its size, and how many shards are there.

    Raises
    ------
    DataError
        If it has no header that can be read.
    """
    header = read_header(folder)
    files = _shard_files(folder)
    crops, size = header.samples * header.views_per_sample, sum(file.stat().st_size for file in files)
    about = header.to_dict() | {"refineries": [f"{one.name} ({one.weights_hash})" for one in header.refineries]}
    about |= {"crops": crops, "bytes_per_record": header.layout.record.itemsize, "bytes": size}
    return about | {"shards_there": len(files), "shards": header.shards}
