"""Arrays of many rows: several files as one array, and reading an array a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

CHUNK_BYTES = 1 << 25
"""Features are read in chunks of about this size (32 MiB)."""

LARGEST = 1e32
"""Largest magnitude of a feature that float32 can compute with: products with a head must not overflow."""

LABEL_BYTES = 1 << 22
"""Labels are read in chunks of about this size (4 MiB: with what is computed from them, about a core's cache)."""


class FeatureArray(Protocol):
    """What a NumPy array, a memory map and a :class:`ShardedArray` have in common."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def ndim(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]: ...

    def __array__(self, dtype: Any = None, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class ShardedArray:
    """Arrays (N_i, ...) of one type, seen as one array of shape (sum N_i, ...).

    The index is a row, a slice of rows or an array of rows; the values are read into memory. ``numpy.asarray`` reads
    everything.
    """

    parts: tuple[NDArray[Any], ...]

    @staticmethod
    def of(parts: Sequence[NDArray[Any]]) -> NDArray[Any] | ShardedArray:
        """The part itself where there is one, else all parts as one array."""
        return parts[0] if len(parts) == 1 else ShardedArray(tuple(parts))

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(len(part) for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(part.dtype for part in self.parts))

    @property
    def ndim(self) -> int:
        return self.parts[0].ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        if isinstance(rows, tuple):  # rows first, then whatever of each row
            return self[rows[0]][(slice(None), *rows[1:])]
        if isinstance(rows, slice) and rows.step in (None, 1):
            return self._slice(*rows.indices(len(self))[:2])
        wanted = np.arange(len(self))[rows]
        if wanted.ndim == 0:
            return self._slice(int(wanted), int(wanted) + 1)[0]
        out = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        ends = np.cumsum([len(part) for part in self.parts])
        owner = np.searchsorted(ends, wanted, side="right")
        for number in np.unique(owner).tolist():
            here, part = owner == number, self.parts[number]
            out[here] = part[wanted[here] - (ends[number] - len(part))]
        return out

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self._slice(0, len(self)).astype(dtype or self.dtype, copy=False)

    def _slice(self, first: int, stop: int) -> NDArray[Any]:
        out = np.empty((max(0, stop - first), *self.shape[1:]), self.dtype)
        start = 0
        for part in self.parts:
            low, high = max(first, start), min(stop, start + len(part))
            if low < high:
                out[low - first : high - first] = part[low - start : high - start]
            start += len(part)
        return out


def with_file_closed(array: Any) -> Any:
    """The same mapped array, by torch, which keeps no file open: there may be more shards than files may be open."""
    if not isinstance(array, np.memmap):
        return array
    if not array.size:
        return np.array(array)
    path = Path(str(array.filename))
    mapped = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8).numpy()
    order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
    found: NDArray[Any] = np.ndarray(array.shape, array.dtype, mapped.data, array.offset, order=order)
    found.flags.writeable = False
    return found


def chunks(array: FeatureArray, limit: int = CHUNK_BYTES) -> Iterator[slice]:
    """Consecutive rows of about ``limit`` bytes, at least one."""
    step = max(1, limit // max(1, row_bytes(array)))
    return (slice(start, min(start + step, len(array))) for start in range(0, len(array), step))


def row_bytes(array: FeatureArray) -> int:
    """Bytes of one row."""
    return int(np.prod(array.shape[1:])) * array.dtype.itemsize


def first_entry(array: NDArray[Any], wanted: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> tuple[int, int] | None:
    """Row and column of the first entry of (N, C) for which ``wanted`` is true, or None; reads a few rows at a time."""
    for chunk in chunks(array, LABEL_BYTES):
        found = wanted(array[chunk])
        if found.any():
            row, column = np.argwhere(found)[0]
            return chunk.start + int(row), int(column)
    return None


class Rows:
    """The rows (n,) of an array (N, ...) that may be larger than memory. They are read when they are indexed."""

    def __init__(self, values: FeatureArray, rows: NDArray[np.int64]) -> None:
        self._values, self._rows = values, rows
        self.shape: tuple[int, ...] = (len(rows), *values.shape[1:])
        self.ndim = len(self.shape)
        self.dtype = values.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def number(self, row: int) -> int:
        """The row of the innermost array that a row is."""
        inner = int(self._rows[row])
        return self._values.number(inner) if isinstance(self._values, Rows) else inner

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self._values[self._rows[index]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)  # indexing by rows has copied already
