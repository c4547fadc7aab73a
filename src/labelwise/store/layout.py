"""How the label of one crop is written: fixed-size records of a crop box and the labels that a refinery gave it.

All numbers are little-endian. docs/file-formats.md describes the records for readers in other languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labelwise.data.views import Boxes
from labelwise.errors import DataError

LARGEST_SIDE = 2**15 - 1
"""Largest side of an image, in pixels, whose crops can be stored: the highest bit of the width is the flip."""

LOWEST = 16.0
"""uint8: values of -log p are kept from 0 to this; log-odds lie in plus or minus this."""

WIDE_CLASSES = 2**16
"""From so many classes on, their ids take four bytes."""

Precision = Literal["fp16", "uint8"]


@dataclass(frozen=True)
class CropLabels:
    """What a refinery says of B crops.

    Single-label: the ``k`` likeliest classes, best first. ``ids`` is (B, k) int64 and ``values`` (B, k) float32 log p,
    -inf where a crop has fewer. ``ids`` is None where all classes are there, in their order. Multi-label: ``ids`` is
    None and ``values`` (B, K) are log-odds.
    """

    ids: NDArray[np.int64] | None
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Layout:
    """What a record holds.

    Parameters
    ----------
    classes : K of the labels
    k : classes per crop; K for all
    boxes : whether the crop is stored. Otherwise it is drawn again from seed, sample and view number
    precision : ``fp16``: log-probabilities and log-odds as half floats. ``uint8``: sqrt(-log p / 16) or
        (log-odds + 16) / 32, times 255
    mass : a crop has as many classes as are needed for this probability, at most ``k``; None: always ``k``
    multi_label : log-odds of all classes
    """

    classes: int
    k: int
    boxes: bool = True
    precision: Precision = "fp16"
    mass: float | None = None
    multi_label: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.classes:
            raise DataError(f"k is {self.k}, expected 1 to {self.classes}, the number of classes")
        if self.multi_label and (self.k != self.classes or self.mass is not None):
            raise DataError("multi-label data: every category has a label; leave k and mass out")
        if self.mass is not None and not (0 < self.mass < 1 and self.k < self.classes):
            raise DataError("mass must be a probability between 0 and 1, of fewer than all classes: set k, too")

    @property
    def sparse(self) -> bool:
        """Whether records name their classes."""
        return self.k < self.classes

    @cached_property
    def entry(self) -> np.dtype[Any]:
        """One class of a crop."""
        value = "<f2" if self.precision == "fp16" else "u1"
        ids = [("id", "<u4" if self.classes > WIDE_CLASSES else "<u2")] if self.sparse else []
        return np.dtype([*ids, ("value", value)])

    @cached_property
    def record(self) -> np.dtype[Any]:
        """One crop. With ``mass`` it says where its entries are: ``count`` of them from number ``first`` on."""
        box = [("box", "<u2", (4,))] if self.boxes else []
        if self.mass is not None:
            return np.dtype([*box, ("first", "<u4"), ("count", "<u2")])
        parts = [(name, self.entry[name], (self.k,)) for name in self.entry.names or ()]
        return np.dtype([*box, *parts])  # ids together, then values together: each is read at once

    def bytes_per_crop(self) -> int:
        """Bytes of a crop; with ``mass`` the most that it can take."""
        return self.record.itemsize + (0 if self.mass is None else self.k * self.entry.itemsize)

    def encode(self, boxes: Boxes | None, labels: CropLabels) -> tuple[NDArray[Any], NDArray[Any]]:
        """Records (B,) of B crops, and their entries, of which there are none without ``mass``.

        ``first`` counts from the first crop of this call.

        Raises
        ------
        DataError
            If an image is too large for its crop to be stored, or a label is NaN.
        """
        records = np.zeros(len(labels), dtype=self.record)
        if self.boxes:
            assert boxes is not None
            records["box"] = _pack(boxes)
        if np.isnan(labels.values).any():
            raise DataError("a refinery answers with NaN; are its weights the right ones?")
        if self.mass is None:
            self._fill(records, labels.ids, labels.values)
            return records, np.zeros(0, dtype=self.entry)
        assert labels.ids is not None
        enough = np.cumsum(np.exp(labels.values.astype(np.float64)), axis=1) >= self.mass
        count = np.where(enough.any(1), enough.argmax(1) + 1, self.k)
        records["count"] = count
        records["first"] = np.cumsum(count) - count
        kept = np.arange(self.k) < count[:, None]
        entries = np.zeros(int(count.sum()), dtype=self.entry)
        self._fill(entries, labels.ids[kept], labels.values[kept])
        return records, entries

    def decode(self, records: NDArray[Any], entries: NDArray[Any]) -> CropLabels:
        """The inverse of :meth:`encode`, up to the precision.

        Parameters
        ----------
        records : (B,)
        entries : those that ``first`` counts from
        """
        if self.mass is None:
            ids = records["id"].astype(np.int64) if self.sparse else None
            return CropLabels(ids, self._values(records["value"]))
        count = records["count"].astype(np.int64)
        place = np.arange(int(count.max(initial=1)))[None, :]
        there = place < count[:, None]
        found = entries[np.where(there, records["first"].astype(np.int64)[:, None] + place, 0)]
        values = np.where(there, self._values(found["value"]), np.float32(-np.inf))
        return CropLabels(np.where(there, found["id"], 0).astype(np.int64), values)

    def _fill(self, target: NDArray[Any], ids: NDArray[np.int64] | None, values: NDArray[np.float32]) -> None:
        if self.sparse:
            target["id"] = ids
        if self.precision == "fp16":
            target["value"] = np.clip(values, -60000, 60000)
        elif self.multi_label:
            target["value"] = np.rint((np.clip(values, -LOWEST, LOWEST) + LOWEST) / (2 * LOWEST) * 255)
        else:
            target["value"] = np.rint(np.sqrt(np.clip(-values, 0, LOWEST) / LOWEST) * 255)

    def _values(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        if self.precision == "fp16":
            return stored.astype(np.float32)
        share: NDArray[np.float32] = stored.astype(np.float32) / np.float32(255)
        return (
            share * np.float32(2 * LOWEST) - np.float32(LOWEST) if self.multi_label else np.float32(-LOWEST) * share**2
        )


def unpack(boxes: NDArray[np.uint16]) -> Boxes:
    """Crops of the field ``box`` (B, 4): top, left, height, and width with the flip as its highest bit."""
    top, left, height, width = boxes.T.astype(np.int32)
    return Boxes(top, left, height, width & LARGEST_SIDE, width > LARGEST_SIDE)


def _pack(boxes: Boxes) -> NDArray[np.uint16]:
    if len(boxes) and max(int((boxes.top + boxes.height).max()), int((boxes.left + boxes.width).max())) > LARGEST_SIDE:
        raise DataError(f"an image is larger than {LARGEST_SIDE} px; set boxes off, so that crops are drawn again")
    width = boxes.width + boxes.flip.astype(np.int32) * (LARGEST_SIDE + 1)
    return np.stack([boxes.top, boxes.left, boxes.height, width], axis=1).astype(np.uint16)


def join(parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Records and entries of several calls of :meth:`Layout.encode`, one after the other, as of one call."""
    records = np.concatenate([records for records, _ in parts])
    if "first" in (records.dtype.names or ()):
        sizes = np.cumsum([0, *(len(entries) for _, entries in parts)])[:-1]
        records["first"] += np.repeat(sizes, [len(own) for own, _ in parts]).astype(np.uint32)
    return records, np.concatenate([entries for _, entries in parts])
