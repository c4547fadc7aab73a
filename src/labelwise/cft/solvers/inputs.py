"""What every solver is given: features, labels that are known, the trained head, and a split to choose on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor

from labelwise.cft.solvers.blocks import count_rows
from labelwise.cft.solvers.coordinates import CHUNK_VALUES, Features, as_float
from labelwise.errors import DataError
from labelwise.features.shards import LABEL_BYTES, FeatureArray, chunks, first_entry

HELD_OUT = 0.25
"""Share of the groups that chooses where no ``select`` is given."""


class Rows:
    """Some rows of an array that may be larger than memory, read when they are asked for."""

    def __init__(self, values: FeatureArray, rows: NDArray[np.int64]) -> None:
        self._values, self._rows = values, rows
        self.shape: tuple[int, ...] = (len(rows), *values.shape[1:])
        self.ndim = len(self.shape)
        self.dtype = values.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self._values[self._rows[index]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)  # indexing by rows has copied already


@dataclass(frozen=True)
class Split:
    """Rows of one split.

    Attributes
    ----------
    features : (N, D) or (N, C, D), any float type
    labels : (N, C) float32 on the device; NaN unknown
    weight : (N, C) float32 on the device, or None for 1
    """

    features: Features
    labels: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def positives(self) -> Tensor:
        """(C,) known labels of at least one half."""
        return count_rows(self.labels, lambda part: part >= 0.5)

    @cached_property
    def negatives(self) -> Tensor:
        """(C,) known labels below one half."""
        return count_rows(self.labels, lambda part: part < 0.5)


@dataclass(frozen=True)
class Problem:
    """``fit`` learns, ``select`` chooses; ``weight`` (C, D) and ``bias`` (C,) are the trained head."""

    fit: Split
    select: Split
    weight: Tensor
    bias: Tensor
    seed: int

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def fittable(self) -> Tensor:
        """(C,) bool: both splits know a positive and a negative label."""
        both = [(split.positives > 0) & (split.negatives > 0) for split in (self.fit, self.select)]
        return both[0] & both[1]

    def why_not(self, category: int) -> str:
        """What category ``category`` lacks, in words."""
        lacks = [
            f"no known {kind} label in {name}"
            for name, split in (("fit", self.fit), ("select", self.select))
            for kind, count in (("positive", split.positives), ("negative", split.negatives))
            if not int(count[category])
        ]
        return ", ".join(lacks)


def linear_logits(features: Features, weight: Tensor, bias: Tensor, categories: Tensor | None = None) -> Tensor:
    """(N, c) logits of heads (c, D); features of a memory map pass through memory in chunks.

    ``categories`` (c,) says which of the features (N, C, D) the heads belong to; None: all, in order.
    """
    n = features.shape[0]
    out = torch.empty(n, len(bias), device=weight.device)
    step = max(1, CHUNK_VALUES // max(1, int(np.prod(features.shape[1:]))))
    for start in range(0, n, step):
        part = as_float(features[start : start + step], weight.device)
        if part.ndim == 3 and categories is not None:
            part = part[:, categories]
        product = part @ weight.T if part.ndim == 2 else torch.einsum("ncd,cd->nc", part, weight)
        out[start : start + step] = product + bias
    return out


def hold_out_rows(groups: NDArray[Any], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows in two parts by whole groups, the second with about ``share`` of the groups; both in ascending order.

    Raises
    ------
    DataError
        If there are fewer than four groups.
    """
    if len(np.unique(groups)) < 4:
        raise DataError("too few rows (or groups) to hold some out for select: give a select split")
    splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
    first, second = next(splitter.split(groups, groups=groups))
    return np.sort(first), np.sort(second)


def hold_out(split: Split, groups: ArrayLike | None, seed: int) -> tuple[Split, Split]:
    """Part a split in two, by whole groups: three quarters and a quarter of them. Errors as :func:`hold_out_rows`."""
    names = np.arange(len(split)) if groups is None else np.asarray(groups)
    if len(names) != len(split):
        raise DataError(f"groups: {len(names)} entries for {len(split)} rows")

    def part(rows: NDArray[np.int64]) -> Split:
        index = torch.from_numpy(rows).to(split.labels.device)
        if isinstance(split.features, Tensor):
            features: Features = split.features[index.to(split.features.device)]
        else:
            features = Rows(split.features, rows)
        return Split(features, split.labels[index], None if split.weight is None else split.weight[index])

    first, second = hold_out_rows(names, HELD_OUT, seed)
    return part(first), part(second)


def check_features(features: Any, name: str, dim: int | None = None, categories: int | None = None) -> Features:
    """Features as they are, if they can be used.

    Raises
    ------
    DataError
        Naming what is wrong: type, shape, width, or the first row that is not finite.
    """
    values: Features = features if hasattr(features, "dtype") else np.asarray(features)
    values = values.detach() if isinstance(values, Tensor) else values
    floating = values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f"
    if not floating:
        raise DataError(f"{name}: must be floating-point numbers, found {values.dtype}")
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise DataError(f"{name}: must be (N, D) or (N, C, D) without empty axes, found {tuple(values.shape)}")
    if dim is not None and values.shape[-1] != dim:
        raise DataError(f"{name}: {values.shape[-1]} features a row, expected {dim}")
    if values.ndim == 3 and categories is not None and values.shape[1] != categories:
        raise DataError(f"{name}: features of {values.shape[1]} categories, labels of {categories}")
    step = max(1, CHUNK_VALUES // max(1, int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), step):
        part = values[start : start + step]
        # A sum is finite only if all terms are; it is added up wider, so that it cannot overflow by itself.
        tensor = as_float(part, part.device if isinstance(part, Tensor) else "cpu")
        if not bool(torch.isfinite(tensor.sum(dtype=torch.float64))):
            bad = ~torch.isfinite(tensor.reshape(len(tensor), -1)).all(1)
            row = start + int(bad.nonzero()[0, 0]) if bool(bad.any()) else start
            raise DataError(f"{name}: row {row} is not finite (NaN or infinite)")
    return values


def as_array(values: ArrayLike | Tensor) -> NDArray[np.float32]:
    """Labels, weights or a head as float32 in memory; parameters and tensors of any device are taken too.

    What already is that is not copied: the array may be the caller's own, so nobody writes to it.
    """
    plain = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values
    if isinstance(plain, np.ndarray) and plain.dtype == np.float32 and plain.flags.forc and plain.flags.writeable:
        return plain
    return np.array(plain, dtype=np.float32)  # torch takes no read-only memory, such as that of a mapped file


def blank_uncertain(labels: NDArray[np.float32]) -> None:
    """Make -1 (uncertain) NaN (unknown), in place."""
    for chunk in chunks(labels, LABEL_BYTES):
        part = labels[chunk]
        part[part == -1] = np.nan


def check_labels(labels: ArrayLike | Tensor, rows: int, name: str, *, hard: bool) -> NDArray[np.float32]:
    """Labels (N, C) as float32 with NaN for unknown; -1 (uncertain) is unknown too. Not to be written to (`as_array`).

    Raises
    ------
    DataError
        For another shape, a value outside the set, or a soft label where ``hard``.
    """
    values = as_array(labels)
    if values.ndim != 2 or len(values) != rows or 0 in values.shape:
        raise DataError(f"{name}: must be (N, C) with N = {rows} rows as the features, found {values.shape}")
    if first_entry(values, lambda part: part == -1):
        values = values.copy()  # the caller's stays as it is
        blank_uncertain(values)
    if place := first_entry(values, lambda part: (part < 0) | (part > 1)):
        row, column = place
        raise DataError(f"{name}: row {row}, category {column}: {values[row, column]:g} is not 1, 0, NaN or -1")
    if hard and (place := first_entry(values, lambda part: (part > 0) & (part < 1))):
        row, column = place
        raise DataError(
            f"{name}: row {row}, category {column}: soft label {values[row, column]:g}; AP and AUC rank 1 against 0:"
            " round it, or make it unknown (NaN)"
        )
    return values
