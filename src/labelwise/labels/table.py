"""The label table: the label of every (sample, category) pair, and where it comes from.

A label is *known* when a person gave it. Unknown (nobody looked) and uncertain (somebody looked and could not decide)
carry no value; a strategy or a refinery may infer one, which is marked and never counts as known: see
docs/how-it-works.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import DataError

UNKNOWN, GIVEN, UNCERTAIN, INFERRED = 0, 1, 2, 3


class CategoryCounts(TypedDict):
    """Labels of one category. ``positive`` and ``negative`` count given labels, soft ones (``soft``) by rounding."""

    name: str
    positive: int
    negative: int
    unknown: int
    uncertain: int
    inferred: int
    soft: int


@dataclass(frozen=True)
class LabelTable:
    """Labels of N samples in C categories.

    Parameters
    ----------
    values : (N, C) float32 in [0, 1] where ``source`` is GIVEN or INFERRED, NaN elsewhere
    source : (N, C) uint8 of UNKNOWN, GIVEN, UNCERTAIN or INFERRED
    categories : C names, each once
    weight : (N, C) float32, finite and >= 0: confidence in each label, e.g. of its annotator; None for equal weights
    category_groups : sets of categories that are averaged on their own, e.g. the five groups of Open Images

    Raises
    ------
    DataError
        For shapes, dtypes, names, values or weights other than these.

    Examples
    --------
    >>> table = LabelTable.from_wire([[1, 0], [np.nan, -1]], ["edema", "nodule"])
    >>> table.known.tolist()
    [[True, True], [False, False]]
    >>> table.counts()[1]["uncertain"]
    1
    """

    values: NDArray[np.float32]
    source: NDArray[np.uint8]
    categories: tuple[str, ...]
    weight: NDArray[np.float32] | None = None
    category_groups: Mapping[str, tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        _check_names(self.categories, self.category_groups)
        shape = self.values.shape
        if self.values.dtype != np.float32 or len(shape) != 2 or shape[1] != len(self.categories):
            raise DataError(
                f"labels: values must be float32 (N, {len(self.categories)}), found {self.values.dtype} {shape}"
            )
        if self.source.dtype != np.uint8 or self.source.shape != shape:
            raise DataError(f"labels: source must be uint8 {shape}, found {self.source.dtype} {self.source.shape}")
        if (bad := self.source > INFERRED).any():
            raise DataError(f"labels: {self._place(bad)}: source {self.source[bad][0]} is not one of 0 to 3")
        has_value = (self.source == GIVEN) | (self.source == INFERRED)
        # NaN fails both comparisons.
        if (bad := has_value & ~((self.values >= 0) & (self.values <= 1))).any():
            raise DataError(f"labels: {self._place(bad)}: value {self.values[bad][0]:g} is not within 0 and 1")
        if (bad := ~has_value & ~np.isnan(self.values)).any():
            raise DataError(
                f"labels: {self._place(bad)}: an unknown or uncertain label has the value {self.values[bad][0]:g}"
            )
        if self.weight is not None:
            if self.weight.dtype != np.float32 or self.weight.shape != shape:
                raise DataError(
                    f"labels: weight must be float32 {shape}, found {self.weight.dtype} {self.weight.shape}"
                )
            if (bad := ~(np.isfinite(self.weight) & (self.weight >= 0))).any():
                raise DataError(f"labels: {self._place(bad)}: weight {self.weight[bad][0]:g} is not finite and >= 0")

    @classmethod
    def from_wire(
        cls, labels: ArrayLike, categories: Sequence[str], weight: ArrayLike | None = None, name: str = "labels"
    ) -> LabelTable:
        """Read labels as files write them (feature file, CheXpert CSV).

        Parameters
        ----------
        labels : (N, C) numbers: 1 positive, 0 negative, between them soft (all given), NaN unknown, -1 uncertain
        categories : C names
        weight : (N, C) confidence weights
        name : of the file or key, for messages

        Raises
        ------
        DataError
            For any other value (with its row and category) or shape.

        Examples
        --------
        >>> table = LabelTable.from_wire([[1, np.nan], [0, -1]], ["edema", "nodule"])
        >>> table.source.tolist()  # 1 given, 0 unknown, 2 uncertain
        [[1, 0], [1, 2]]
        """
        categories = tuple(map(str, categories))
        _check_names(categories, name=name)
        wire = _numbers(labels, (None, len(categories)), name)
        uncertain, unknown = wire == -1, np.isnan(wire)
        given = (wire >= 0) & (wire <= 1)
        if (bad := ~(uncertain | unknown | given)).any():
            row, column = np.argwhere(bad)[0]
            raise DataError(
                f"{name}: row {row}, category '{categories[column]}': {wire[row, column]:g} is not a label;"
                " use 1, 0, a soft label between them, NaN (unknown) or -1 (uncertain)"
            )
        source = np.where(given, GIVEN, np.where(uncertain, UNCERTAIN, UNKNOWN)).astype(np.uint8)
        values = np.where(given, wire, np.float32(np.nan))
        weights = None if weight is None else _numbers(weight, wire.shape, f"weights of {name}")
        return cls(values, source, categories, weights)

    @classmethod
    def from_classes(cls, label: NDArray[np.int64], classes: Sequence[str]) -> LabelTable:
        """Single-label data as a table: one category is positive, all others negative; -1 is all unknown.

        Parameters
        ----------
        label : (N,) int64 class indices, -1 for unlabelled
        classes : C names

        Raises
        ------
        DataError
            For an index outside -1 to C - 1.

        Examples
        --------
        >>> LabelTable.from_classes(np.array([0, 1, -1]), ["cat", "dog"]).values.tolist()
        [[1.0, 0.0], [0.0, 1.0], [nan, nan]]
        """
        if label.ndim != 1 or label.dtype.kind not in "iu":
            raise DataError(f"labels: class indices must be integers (N,), found {label.dtype} {label.shape}")
        if label.size and (label.min() < -1 or label.max() >= len(classes)):
            raise DataError(
                f"labels: class indices must be -1 to {len(classes) - 1}, found {label.min()} to {label.max()}"
            )
        one_hot = (label[:, None] == np.arange(len(classes))).astype(np.float32)
        one_hot[label == -1] = np.nan
        return cls.from_wire(one_hot, classes)

    def to_wire(self) -> NDArray[np.float32]:
        """(N, C) float32 as :meth:`from_wire` reads it; inferred labels appear as their values, their mark is lost."""
        return np.where(self.source == UNCERTAIN, np.float32(-1), self.values)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N, C): the label was given."""
        return self.source == GIVEN

    def given(self) -> NDArray[np.float32]:
        """(N, C) values of the known labels, NaN elsewhere."""
        return np.where(self.known, self.values, np.float32(np.nan))

    @property
    def known_positive(self) -> NDArray[np.int64]:
        """(C,) number of given labels >= 0.5."""
        return (self.known & (self.values >= 0.5)).sum(axis=0, dtype=np.int64)

    @property
    def known_negative(self) -> NDArray[np.int64]:
        """(C,) number of given labels < 0.5."""
        return (self.known & (self.values < 0.5)).sum(axis=0, dtype=np.int64)

    def trainable(self) -> NDArray[np.bool_]:
        """(C,): the category has a known positive and a known negative."""
        return (self.known_positive > 0) & (self.known_negative > 0)

    def counts(self) -> list[CategoryCounts]:
        """Labels of every category by kind, in the order of ``categories``."""
        soft = (self.known & (self.values > 0) & (self.values < 1)).sum(axis=0)
        unknown, uncertain, inferred = ((self.source == s).sum(axis=0) for s in (UNKNOWN, UNCERTAIN, INFERRED))
        positive, negative = self.known_positive, self.known_negative
        return [
            CategoryCounts(
                name=name,
                positive=int(positive[c]),
                negative=int(negative[c]),
                unknown=int(unknown[c]),
                uncertain=int(uncertain[c]),
                inferred=int(inferred[c]),
                soft=int(soft[c]),
            )
            for c, name in enumerate(self.categories)
        ]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> LabelTable:
        """The labels of some samples, in that order; the table itself, no copy, where these are all its rows.

        Parameters
        ----------
        rows : (M,) int64 row numbers, or (N,) bool
        """
        if rows.dtype != np.bool_ and np.array_equal(rows, np.arange(len(self))):
            return self
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, values=self.values[rows], source=self.source[rows], weight=weight)

    def with_categories(self, categories: Sequence[str]) -> LabelTable:
        """The labels of some categories, in that order. Category groups lose the others.

        Parameters
        ----------
        categories : names of categories of this table

        Raises
        ------
        DataError
            For a category that the table does not have.
        """
        place = {name: i for i, name in enumerate(self.categories)}
        if missing := [name for name in categories if name not in place]:
            raise DataError(f"labels: {missing[0]!r} is not a category of the data: {', '.join(self.categories[:20])}")
        columns = [place[name] for name in categories]
        groups = self.category_groups and {
            group: tuple(name for name in members if name in set(categories))
            for group, members in self.category_groups.items()
        }
        return replace(
            self,
            values=self.values[:, columns],
            source=self.source[:, columns],
            categories=tuple(categories),
            weight=None if self.weight is None else self.weight[:, columns],
            category_groups=groups,
        )

    def hide(self, keep: NDArray[np.bool_]) -> LabelTable:
        """Make every entry unknown that is not kept, given or not (see the ``keep_`` functions of ``protocols``).

        Parameters
        ----------
        keep : (N, C) bool

        Raises
        ------
        DataError
            For a mask of another shape or dtype.
        """
        if keep.dtype != np.bool_ or keep.shape != self.values.shape:
            raise DataError(f"labels: the keep mask must be bool {self.values.shape}, found {keep.dtype} {keep.shape}")
        values = np.where(keep, self.values, np.float32(np.nan))
        return replace(self, values=values, source=np.where(keep, self.source, np.uint8(UNKNOWN)))

    def _place(self, bad: NDArray[np.bool_]) -> str:
        row, column = np.argwhere(bad)[0]
        return f"row {row}, category '{self.categories[column]}'"


def _check_names(
    categories: tuple[str, ...], groups: Mapping[str, tuple[str, ...]] | None = None, name: str = "labels"
) -> None:
    seen = set(categories)
    if len(seen) != len(categories):
        twice = next(category for i, category in enumerate(categories) if category in categories[:i])
        raise DataError(f"{name}: category '{twice}' is named twice; give every category its own name")
    for group, members in (groups or {}).items():
        for member in members:
            if member not in seen:
                raise DataError(f"{name}: group '{group}' names '{member}', which is not a category")


def _numbers(array: ArrayLike, shape: tuple[int | None, ...], name: str) -> NDArray[np.float32]:
    """A new float32 array of ``shape`` (rows, columns), where None is any number of rows."""
    found = np.asarray(array)
    wanted = f"({'N' if shape[0] is None else shape[0]}, {shape[1]})"
    if found.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected numbers {wanted}, found {found.dtype}; NaN is unknown, -1 uncertain")
    if found.ndim != 2 or found.shape[1] != shape[1] or shape[0] not in (None, found.shape[0]):
        raise DataError(f"{name}: expected the shape {wanted}, found {found.shape}")
    with np.errstate(over="ignore"):  # what overflows is refused as a value, with its place
        return found.astype(np.float32)
