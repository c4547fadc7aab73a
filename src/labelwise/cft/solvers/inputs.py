"""What every solver is given: the known labels of two splits, their features, and the trained head.

Categories know different rows. `blocks` gathers the known rows of several categories, so that they are one batched
product. Where most rows are known, nothing is gathered: all categories share the rows, and unknown entries weigh 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from labelwise.cft.solvers.coordinates import CHUNK_VALUES, Features, as_float
from labelwise.config import Metric
from labelwise.errors import InputError
from labelwise.features.shards import LARGEST, Rows

HELD_OUT = 0.25
"""Share of the groups that are held out where no ``select`` is given."""

LABEL_ENTRIES = 1 << 20
"""Labels that are looked at together; what is computed from them fits into the cache of a core."""

DENSE_SHARE = 0.35
"""Known share from which sharing all rows beats gathering: a shared product runs several times faster per row."""

SMALLEST = 1e-6
"""Standard deviation of a logit up to which it counts as constant."""

Progress = Callable[[int, int], None]
"""Called with the number of categories that are done, and the number of all categories."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Split:
    """Rows of one split.

    Attributes
    ----------
    features : (N, D) or (N, C, D), any float type
    labels : (N, C) float32 on the device; NaN where unknown
    weight : (N, C) float32 on the device, how much each label counts; None for 1
    groups : (N,) names; rows of a group (a patient) are in one fold. None: every row is a group
    """

    features: Features
    labels: Tensor
    weight: Tensor | None = None
    groups: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        """The same rows with labels and weights on ``device``."""
        weight = None if self.weight is None else self.weight.to(device)
        return replace(self, labels=self.labels.to(device), weight=weight)

    @cached_property
    def positives(self) -> Tensor:
        """(C,) number of known labels of at least one half."""
        return count_rows(self.labels, lambda part: part >= 0.5)

    @cached_property
    def negatives(self) -> Tensor:
        """(C,) number of known labels below one half."""
        return count_rows(self.labels, lambda part: part < 0.5)


@dataclass(frozen=True)
class SolverInput:
    """Everything that a solver needs, apart from its own settings.

    Attributes
    ----------
    fit, select : rows to fit heads on, and rows to choose them on
    weight, bias : (C, D) and (C,) float32, the trained head
    seed : of every random number
    objective : what is judged on ``select``
    budget : float32 values that the working arrays of a block may hold. With the seed it decides the random numbers
    progress : called after every block of categories
    """

    fit: Split
    select: Split
    weight: Tensor
    bias: Tensor
    seed: int
    objective: Metric = "ap"
    budget: int = 64_000_000
    progress: Progress = no_progress

    @property
    def device(self) -> torch.device:
        return self.weight.device

    @cached_property
    def fittable(self) -> Tensor:
        """(C,) bool: both splits know a positive and a negative label."""
        fit, select = ((split.positives > 0) & (split.negatives > 0) for split in (self.fit, self.select))
        return fit & select

    def why_not(self, category: int) -> str:
        """What category ``category`` lacks, in words."""
        lacks = [
            f"no known {kind} label in {name}"
            for name, split in (("fit", self.fit), ("select", self.select))
            for kind, count in (("positive", split.positives), ("negative", split.negatives))
            if not int(count[category])
        ]
        return ", ".join(lacks)


def hold_out_rows(groups: NDArray[Any], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of two parts, by whole groups (N,); about ``share`` of the groups goes to the second part.

    Raises
    ------
    InputError
        If there are fewer than four groups.
    """
    from sklearn.model_selection import GroupShuffleSplit  # here, for its import takes half a second

    count = len(np.unique(groups))
    if count < 4:
        raise InputError(f"select: {count} sample(s) or groups are too few to hold some out: give a select split")
    splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
    first, second = next(splitter.split(groups, groups=groups))
    return np.sort(first), np.sort(second)


def hold_out(split: Split, seed: int) -> tuple[Split, Split]:
    """Part a split in two by whole groups, three quarters of them and a quarter.

    Raises
    ------
    InputError
        If there are fewer than four groups.
    """
    names = np.arange(len(split)) if split.groups is None else split.groups

    def part(rows: NDArray[np.int64]) -> Split:
        index = torch.from_numpy(rows).to(split.labels.device)
        if isinstance(split.features, Tensor):
            features: Features = split.features[index.to(split.features.device)]
        else:
            features = Rows(split.features, rows)
        weight = None if split.weight is None else split.weight[index]
        return Split(features, split.labels[index], weight, None if split.groups is None else split.groups[rows])

    first, second = hold_out_rows(names, HELD_OUT, seed)
    return part(first), part(second)


def check_features(features: Any, name: str, dim: int | None = None, categories: int | None = None) -> Features:
    """Features as they are, if they can be used. Whole numbers become float32.

    Parameters
    ----------
    name, dim, categories : for messages, expected D, and C of features (N, C, D); None for any

    Raises
    ------
    InputError
        Naming what is wrong: type, shape, width, or the first row that is not finite.
    """
    if hasattr(features, "toarray"):
        raise InputError(f"{name}: sparse arrays are not supported; pass features.toarray()")
    values: Features = features if hasattr(features, "dtype") else np.asarray(features)
    values = values.detach() if isinstance(values, Tensor) else values
    if isinstance(values, np.ndarray) and values.dtype.kind in "iubO":
        values = values.astype(np.float32)
    floating = values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f"
    if not floating:
        raise InputError(f"{name}: expected real numbers, found {values.dtype}. Complex data not supported.")
    if values.ndim not in (2, 3):
        raise InputError(f"{name}: expected (N, D) or (N, C, D), found {tuple(values.shape)}. Reshape your data.")
    if 0 in values.shape:
        what = "feature" if len(values) else "sample"
        raise InputError(f"{name}: 0 {what}(s) (shape={tuple(values.shape)}) while a minimum of 1 is required.")
    if dim is not None and values.shape[-1] != dim:
        raise InputError(f"{name}: {values.shape[-1]} features a row, expected {dim}")
    if values.ndim == 3 and categories is not None and values.shape[1] != categories:
        raise InputError(f"{name}: features of {values.shape[1]} categories, labels of {categories}")
    step = max(1, CHUNK_VALUES // max(1, int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), step):
        part = values[start : start + step]
        tensor = as_float(part, part.device if isinstance(part, Tensor) else "cpu")
        low, high = tensor.aminmax()  # NaN where there is one
        if not (low >= -LARGEST and high <= LARGEST):
            place = tuple((~(tensor.abs() <= LARGEST)).nonzero()[0].tolist())
            raise InputError(
                f"{name}: row {start + place[0]}, column {place[-1]} is {float(part[place]):.3g}; expected a number of"
                f" at most {LARGEST:g}, neither NaN nor infinite"
            )
    return values


def as_array(values: ArrayLike | Tensor) -> NDArray[np.float32]:
    """Labels, weights or a head as float32 in memory; parameters and tensors of any device are taken too.

    A float32 array is not copied. It may be the caller's own, so nobody writes to it.
    """
    plain = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values
    if isinstance(plain, np.ndarray) and plain.dtype == np.float32 and plain.flags.forc and plain.flags.writeable:
        return plain
    return np.array(plain, dtype=np.float32)  # torch takes no read-only memory, such as that of a mapped file


def check_labels(labels: ArrayLike | Tensor, rows: int, name: str, *, hard: bool) -> Tensor:
    """Labels (N, C) as float32 with NaN for unknown and for uncertain (-1). Not to be written to (see `as_array`).

    Parameters
    ----------
    rows, name, hard : expected N, a name for messages, and whether labels between 0 and 1 are refused

    Raises
    ------
    InputError
        For another shape, a value outside the set, or a soft label where ``hard``.
    """
    values = torch.from_numpy(as_array(labels))
    if values.ndim != 2 or len(values) != rows or 0 in values.shape:
        raise InputError(f"{name}: expected (N, C) with N = {rows} rows as the features, found {tuple(values.shape)}")
    if _first(values, lambda part: part == -1):
        values = values.clone()  # the caller's stays as it is
        blank_uncertain(values)
    if place := _first(values, lambda part: (part < 0) | (part > 1)):
        row, column = place
        raise InputError(f"{name}: row {row}, category {column}: {values[row, column]:g} is not 1, 0, NaN or -1")
    if hard and (place := _first(values, lambda part: (part > 0) & (part < 1))):
        row, column = place
        raise InputError(
            f"{name}: row {row}, category {column}: soft label {values[row, column]:g}; AP and AUC rank 1 against 0:"
            " round it, or make it unknown (NaN)"
        )
    return values


def blank_uncertain(labels: Tensor) -> None:
    """Make -1 (uncertain) NaN (unknown), in place."""
    for part in _row_parts(labels):
        part[part == -1] = torch.nan


def count_rows(labels: Tensor, wanted: Callable[[Tensor], Tensor]) -> Tensor:
    """(C,) int64: for how many rows of labels (N, C) ``wanted`` is true, computed a few rows at a time."""
    return torch.stack([wanted(part).sum(0) for part in _row_parts(labels)]).sum(0)


def _first(labels: Tensor, wanted: Callable[[Tensor], Tensor]) -> tuple[int, int] | None:
    """Row and category of the first label of (N, C) for which ``wanted`` is true, or None."""
    start = 0
    for part in _row_parts(labels):
        found = wanted(part).nonzero()
        if len(found):
            return start + int(found[0, 0]), int(found[0, 1])
        start += len(part)
    return None


def _row_parts(labels: Tensor) -> tuple[Tensor, ...]:
    return labels.split(max(1, LABEL_ENTRIES // max(1, labels.shape[1])))


@dataclass(frozen=True)
class Block:
    """Known rows of c categories.

    Attributes
    ----------
    categories : (c,) int64
    x : (c, n, R) coordinates, or (n, R) when all categories share the rows
    label : (c, n) float32, 0 where ``weight`` is 0
    weight : (c, n) float32; 0 marks padding and unknown entries
    rows : (c, n) int64 row of each entry, or None when the rows are shared
    """

    categories: Tensor
    x: Tensor
    label: Tensor
    weight: Tensor
    rows: Tensor | None

    def product(self, heads: Tensor) -> Tensor:
        """x @ heads: (c, R, L) to (c, n, L)."""
        if self.x.ndim == 3:
            return torch.bmm(self.x, heads)
        c, r, columns = heads.shape
        # One product for all categories; the result keeps (n, c, L) in memory, which elementwise work does not mind.
        flat = heads.permute(1, 0, 2).reshape(r, c * columns)
        return (self.x @ flat).view(-1, c, columns).permute(1, 0, 2)

    def gradient(self, residual: Tensor) -> Tensor:
        """x^T @ residual: (c, n, L) to (c, R, L)."""
        if self.x.ndim == 3:
            # Residuals as rows: BLAS runs that up to four times faster than x^T times a few columns.
            return torch.bmm(residual.transpose(1, 2), self.x).transpose(1, 2).contiguous()
        c, n, columns = residual.shape
        flat = residual.permute(1, 0, 2).reshape(n, c * columns)
        return (self.x.T @ flat).view(-1, c, columns).permute(1, 0, 2)

    def take(self, values: Tensor) -> Tensor:
        """Entries (c, n) of a matrix (N, C) over rows and categories."""
        chosen = values[:, self.categories].T
        return chosen if self.rows is None else chosen.gather(1, self.rows)


def known_deviation(logits: Tensor, weight: Tensor) -> Tensor:
    """Standard deviation (...) of logits (..., n) over the known entries, those of ``weight`` 1 and not 0."""
    count = weight.sum(-1).clamp_min(1)
    centred = (logits - ((logits * weight).sum(-1) / count)[..., None]) * weight
    largest = centred.abs().amax(-1).clamp_min(1e-30)  # squares of logits may overflow
    return ((centred / largest[..., None]).square().sum(-1) / count).sqrt() * largest


def blocks(
    x: Tensor, labels: Tensor, weight: Tensor | None, categories: Tensor, columns: int, budget: int
) -> Iterator[Block]:
    """Blocks over ``categories``, those of similar counts together.

    Parameters
    ----------
    x : (N, R), or (N, C, R) for features of each category's own
    labels : (N, C), NaN where unknown
    weight : (N, C) weights of the known labels, or None for 1
    categories : (c,) indices to be covered, each once
    columns : heads that will be evaluated per category
    budget : float32 values that a block may hold, working arrays included
    """
    count = count_rows(labels, lambda part: ~torch.isnan(part[:, categories]))
    most = count.argsort(descending=True, stable=True)
    order, count = categories[most], count[most]
    rank, start = x.shape[-1], 0
    while start < len(order):
        dense = x.ndim == 2 and int(count[start]) >= DENSE_SHARE * len(x)
        n = len(x) if dense else max(1, int(count[start]))
        per_category = n * (8 * columns + (0 if dense else rank)) + 24 * rank * columns + len(x)
        stop = min(len(order), start + max(1, budget // per_category))
        if dense:  # only while the categories are known well enough to share all rows
            stop = start + int((count[start:stop] >= DENSE_SHARE * len(x)).sum())
        chosen = order[start:stop]
        yield _shared(x, labels, weight, chosen) if dense else _gathered(x, labels, weight, chosen, n)
        start = stop


def block_of(x: Tensor, labels: Tensor, categories: Tensor) -> Block:
    """One block of all ``categories`` (c,), in their order."""
    most = int(count_rows(labels, lambda part: ~torch.isnan(part[:, categories])).max())
    dense = x.ndim == 2 and most >= DENSE_SHARE * len(x)
    return _shared(x, labels, None, categories) if dense else _gathered(x, labels, None, categories, max(1, most))


def _shared(x: Tensor, labels: Tensor, weight: Tensor | None, chosen: Tensor) -> Block:
    label = labels[:, chosen].T
    weights = (~torch.isnan(label)).float() * (1.0 if weight is None else weight[:, chosen].T)
    return Block(chosen, x, torch.nan_to_num(label), weights, None)


def _gathered(x: Tensor, labels: Tensor, weight: Tensor | None, chosen: Tensor, n: int) -> Block:
    rows = torch.zeros(len(chosen), n, dtype=torch.int64, device=x.device)
    label, weights = (torch.zeros(len(chosen), n, device=x.device) for _ in range(2))
    filled = torch.zeros(len(chosen), dtype=torch.int64, device=x.device)
    step = max(1, LABEL_ENTRIES // len(chosen))
    for start in range(0, len(labels), step):
        part = labels[start : start + step][:, chosen]
        category, row = (~torch.isnan(part.T)).nonzero(as_tuple=True)  # by category, rows ascending
        count = torch.bincount(category, minlength=len(chosen))
        slot = torch.arange(len(row), device=x.device) + (filled - count.cumsum(0) + count)[category]
        rows[category, slot] = row + start
        label[category, slot] = part[row, category]
        weights[category, slot] = 1.0 if weight is None else weight[row + start, chosen[category]]
        filled += count
    packed = x[rows] if x.ndim == 2 else x[rows, chosen[:, None]]
    # Padding repeats row 0 and weighs nothing.
    return Block(chosen, packed, label, weights, rows)


def grouped(split: Split, groups: ArrayLike | None, name: str) -> Split:
    """The split with its groups (N,), which `name` calls in an error; as it is where they are None."""
    if groups is None:
        return split
    names = np.asarray(groups)
    if len(names) != len(split):
        raise InputError(f"{name}: {len(names)} entries for {len(split)} rows")
    return replace(split, groups=names)
