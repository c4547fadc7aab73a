"""One numbered file of a store: the labels of all crops of consecutive samples, with checksums.

The file is written under a temporary name and renamed when it is whole, so any process may write any shard, also twice.
In this order, with numbers little-endian:

- 64 bytes: the letters ``LWSHARD1``, the store's hash (16 letters), then uint64: samples n, views V, bytes of a record,
  number of entries, bytes of the ids
- n keys, uint64: of each sample the first 8 bytes of the BLAKE2b hash (digest size 8) of its id
- n x V records, all views of a sample together
- the entries, where the number of classes differs from crop to crop
- ``PROBES`` probes, to tell whether the images are still the same
- the ids in UTF-8, each ended by a zero byte
- 32 bytes: the SHA-256 of all bytes before
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.data.dataset import sample_keys
from labelwise.errors import DataError
from labelwise.runs import atomic_write
from labelwise.store.layout import Layout

MAGIC = b"LWSHARD1"
HEAD = struct.Struct("<8s16sQQQQQ")
DIGEST = 32

PROBES = 8
"""Crops of a shard whose pixels are hashed."""

PROBE = np.dtype([("crop", "<u4"), ("height", "<u4"), ("width", "<u4"), ("image", "<u8"), ("pixels", "<u8")])
"""A crop by its number in the shard, the size of its image, and 8-byte BLAKE2b hashes: of the decoded image (uint8,
rows of pixels of channels; an embedding as float32), and of the crop as the network saw it (float32, channels
first)."""


class DamagedShardError(DataError):
    """A shard that is missing, cut short or changed; ``labelwise label`` makes it again."""


@dataclass(frozen=True)
class ShardContent:
    """What a shard holds.

    Parameters
    ----------
    ids : of n samples
    records : (n x V,) all views of a sample together
    entries : see :class:`labelwise.store.layout.Layout`
    probes : (P,)
    """

    ids: NDArray[np.str_]
    records: NDArray[Any]
    entries: NDArray[Any]
    probes: NDArray[Any]


def shard_name(number: int) -> str:
    """File name of a shard, counted from 0."""
    return f"{number:05d}.bin"


def hash_of(array: NDArray[Any]) -> int:
    """8-byte hash of an array's bytes, as probes have it."""
    found = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8)
    return int.from_bytes(found.digest(), "little")


def write_shard(path: Path, store_hash: str, views: int, content: ShardContent) -> None:
    """Write a shard, whole or not at all.

    Raises
    ------
    DataError
        If an id holds a zero byte.
    RunError
        If the disk is full or the folder cannot be written.
    """
    if odd := [name for name in content.ids.tolist() if "\0" in name]:
        raise DataError(f"the id {odd[0]!r} holds a zero byte; a store cannot have it")
    ids = b"".join(str(name).encode() + b"\0" for name in content.ids)
    records = content.records
    head = HEAD.pack(
        MAGIC, store_hash.encode(), len(content.ids), views, records.dtype.itemsize, len(content.entries), len(ids)
    )
    parts = [head, sample_keys(content.ids).astype("<u8").tobytes(), records.tobytes(), content.entries.tobytes()]
    parts += [content.probes.astype(PROBE).tobytes(), ids]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    atomic_write(path, b"".join([*parts, digest.digest()]))


class Shard:
    """A shard that is mapped into memory. Nothing but its head is read before it is asked for.

    Raises
    ------
    DamagedShardError
        In one line, if it is missing, cut short, or no shard.
    DataError
        If it is of another store.
    """

    def __init__(self, path: Path, layout: Layout, store_hash: str, views: int) -> None:
        self.path = path
        self._bytes = _mapped(path)
        if len(self._bytes) < HEAD.size + DIGEST or self._bytes[: len(MAGIC)].tobytes() != MAGIC:
            raise DamagedShardError(f"{path}: is no shard of a store, or its first bytes are damaged")
        _, owner, n, v, size, entries, ids = HEAD.unpack(self._bytes[: HEAD.size].tobytes())
        if (owner.decode("ascii", "replace"), v, size) != (store_hash, views, layout.record.itemsize):
            self.check()
            raise DataError(f"{path}: belongs to another store than the store.json beside it")
        self.samples = int(n)
        sizes = [HEAD.size, 8 * n, n * v * size, entries * layout.entry.itemsize, PROBES * PROBE.itemsize, ids, DIGEST]
        if sum(sizes) != len(self._bytes):
            found = f"has {len(self._bytes):,} bytes instead of {sum(sizes):,}"
            raise DamagedShardError(f"{path}: {found}; it was cut or damaged, run `labelwise label` again")
        starts = np.cumsum([0, *sizes]).tolist()
        self.keys = np.frombuffer(self._bytes, "<u8", n, starts[1])
        self.records = np.frombuffer(self._bytes, layout.record, n * v, starts[2])
        self.entries = np.frombuffer(self._bytes, layout.entry, entries, starts[3])
        self.probes = np.frombuffer(self._bytes, PROBE, PROBES, starts[4])
        self._ids = self._bytes[starts[5] : starts[6]]

    def ids(self) -> NDArray[np.str_]:
        """Ids (n,) of the samples."""
        return np.array(self._ids.tobytes().decode().split("\0")[:-1], dtype=np.str_)

    def digest(self) -> str:
        """The checksum that the shard carries, as hex digits."""
        return self._bytes[-DIGEST:].tobytes().hex()

    def check(self) -> None:
        """Compare the content with the checksum.

        Raises
        ------
        DamagedShardError
            If a byte has changed.
        """
        if hashlib.sha256(self._bytes[:-DIGEST].data).hexdigest() != self.digest():
            raise DamagedShardError(f"{self.path}: a byte has changed since; run `labelwise label` again")


def _mapped(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, by torch, which keeps no file open: there may be more shards than files may be open."""
    try:
        found = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8).numpy()
        found.flags.writeable = False
        return found
    except FileNotFoundError:
        raise DamagedShardError(f"{path}: this shard is missing; run `labelwise label` again") from None
    except (OSError, RuntimeError) as error:
        raise DamagedShardError(f"{path}: cannot be read ({' '.join(str(error).split())[:160]})") from None
