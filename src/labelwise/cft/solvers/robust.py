"""Features as solvers can work with them: no outliers, columns of comparable size, numbers that can be squared.

Ordinary features pass as they are, to the bit. Start at `prepare`. Constants were measured on contaminated copies of UC
Merced features (docs/results/cft.md, section "Contaminated features"), whose own largest values they leave alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.cft.solvers.coordinates import CHUNK_VALUES, Features, as_float
from labelwise.cft.solvers.inputs import SolverInput
from labelwise.errors import InputError
from labelwise.features.shards import Rows

SAMPLE_ROWS = 2048
"""Rows of ``fit`` from which centre and scale of each column are taken."""

QUANTILE = 0.95
"""The scale of a column is this quantile of the distances from its median; at least the median of all columns' scales.
A twentieth of the rows may be anything."""

OUTLIER, OUTLYING_ROW = 20.0, 5.0
"""From these multiples on, a value is an outlier (of its column's scale), or a whole row (of the usual row's size)."""

WIDE = 8.0
"""Columns with more than this multiple of the median column's scale are brought to it."""

ORDINARY = (1e-4, 1e4)
"""Scales that need no change of units."""

SMALLEST_SCALE, LARGEST_LOGIT = 1e-32, 1e36
"""What a head that is stored as float32 can still work with."""

FAR = 1e3
"""Columns are centred where a median is farther from zero than this multiple of its column's scale."""

NAMED = 3
"""Outlying rows and wide columns that are named."""


@dataclass(frozen=True)
class Outlier:
    """A value far off: its row (of the data that were passed), column, and distance in units of the column's scale."""

    row: int
    column: int
    value: float
    distance: float

    def __str__(self) -> str:
        return f"row {self.row} (column {self.column} is {self.value:.3g}, {self.distance:.3g} times the usual)"


@dataclass(frozen=True)
class RobustScaling:
    """``(z - centre) / divisor`` of features z; an outlier counts as missing and takes its column's median.

    Attributes
    ----------
    centre, scale : (D,) float32, the median of each column, and its usual distance from it, above zero
    divisor : (D,) float32
    row_size : root mean square of z - centre in units of the scale, from which a whole row is an outlier
    """

    centre: Tensor
    scale: Tensor
    divisor: Tensor
    row_size: float

    @classmethod
    def of(cls, features: Features, seed: int) -> RobustScaling | None:
        """From a sample of rows; None where all of its values are equal."""
        rows = np.arange(len(features))
        if len(rows) > SAMPLE_ROWS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE_ROWS, replace=False))
        sample = as_float(features[rows]).double().numpy().reshape(-1, features.shape[-1])
        if len(sample) > SAMPLE_ROWS:  # of features (N, C, D)
            sample = sample[:: len(sample) // SAMPLE_ROWS]
        centre = np.median(sample, axis=0)
        distance = np.abs(sample - centre)
        own = np.quantile(distance, QUANTILE, axis=0)
        if not (own > 0).any():
            own = np.quantile(distance[distance > 0], QUANTILE, keepdims=True) if distance.any() else own
        if not (own > 0).any():
            return None
        usual = float(np.median(own[own > 0]))
        scale = np.broadcast_to(np.maximum(own, usual), centre.shape)
        divisor = np.where(scale > WIDE * usual, scale / usual, 1.0)
        if not ORDINARY[0] < usual < ORDINARY[1]:
            divisor = divisor * usual
        size = np.sqrt(np.square(distance / scale).mean(1))
        limit = OUTLYING_ROW * float(np.quantile(size, QUANTILE))
        found = [torch.from_numpy(np.array(v, np.float32)) for v in (centre, scale, divisor)]
        return cls(found[0], found[1], found[2], limit)

    @property
    def wide(self) -> list[int]:
        """Columns that vary far more than the others, the widest first."""
        order = self.scale.argsort(descending=True).tolist()
        return order[: int((self.scale > WIDE * self.scale.median()).sum())]

    @property
    def ordinary(self) -> bool:
        """Whether features need no scaling, apart from outliers."""
        return bool((self.divisor == 1).all()) and bool((self.centre.abs() <= FAR * self.scale).all())

    def __call__(self, values: Tensor) -> Tensor:
        """Scaled rows (n, ..., D) of features (n, ..., D) float32."""
        _, outlying = self._distances(values)
        return torch.where(outlying, 0.0, (values - self.centre) / self.divisor)

    def outliers(self, features: Features) -> Iterator[Outlier]:
        """The farthest value of every row that has an outlier."""
        step = max(1, CHUNK_VALUES // max(1, int(np.prod(features.shape[1:]))))
        for start in range(0, len(features), step):
            values = as_float(features[start : start + step])
            distance, outlying = (found.flatten(1) for found in self._distances(values))
            for row in outlying.any(1).nonzero()[:, 0].tolist():
                place = int(distance[row].argmax())
                number = features.number(start + row) if isinstance(features, Rows) else start + row
                value = float(values.flatten(1)[row, place])
                yield Outlier(number, place % features.shape[-1], value, float(distance[row, place]))

    def _distances(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """How far each value is from its median in units of the scale, and whether it is an outlier."""
        distance = ((values - self.centre) / self.scale).abs_()
        outlying = distance > OUTLIER
        size = torch.where(outlying, 0.0, distance).square_().mean(-1, keepdim=True).sqrt()
        return distance, outlying | (size > self.row_size)

    def head_on_scaled(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The head (C, D), (C,) on features as a head on scaled ones."""
        scaled = weight.double() * self.divisor.to(weight)
        return scaled.float(), (bias + weight.double() @ self.centre.to(weight).double()).float()

    def head_on_features(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The head on scaled features as one on features."""
        plain = weight.double() / self.divisor.to(weight)
        return plain.float(), (bias - plain @ self.centre.to(weight).double()).float()


class ScaledFeatures:
    """Features under a scaling, which is computed when they are read."""

    def __init__(self, values: Features, scaling: RobustScaling) -> None:
        self._values, self._scaling = values, scaling
        self.shape: tuple[int, ...] = tuple(values.shape)
        self.ndim = len(self.shape)
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = self._scaling(as_float(self._values[rows])).numpy()
        return scaled

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


@dataclass(frozen=True)
class Prepared:
    """What solvers are given.

    Attributes
    ----------
    inputs : on scaled features where ``scaling`` is not None
    notes : what was done about outliers and wide columns, one line each
    """

    inputs: SolverInput
    scaling: RobustScaling | None
    notes: list[str]

    def to_features(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Heads (..., D) and biases (...) that were found on ``inputs`` as ones on the features that were passed."""
        return (weight, bias) if self.scaling is None else self.scaling.head_on_features(weight, bias)


def prepare(inputs: SolverInput) -> Prepared:
    """Scale the features if outliers, wide columns, units or offsets make that necessary.

    Raises
    ------
    InputError
        If the features vary by too little, or the head's logits by too much, for float32.
    """
    scaling = RobustScaling.of(inputs.fit.features, inputs.seed)
    if scaling is None:
        return Prepared(inputs, None, [])
    if (usual := float(scaling.scale.median())) < SMALLEST_SCALE:
        raise InputError(
            f"features: they vary by {usual:.1e} only, too little for float32; multiply them by a constant"
        )
    reach = inputs.weight.abs().double() @ (scaling.centre.abs() + scaling.scale).to(inputs.weight).double()
    if float((reach + inputs.bias.abs()).max()) > LARGEST_LOGIT:
        category = int(reach.argmax())
        raise InputError(
            f"head: logits of category {category} reach {float(reach[category]):.1e}, more than float32 can hold;"
            " divide its weights and bias by a constant (AP and AUC stay the same)"
        )
    splits = {"fit": inputs.fit, "select": inputs.select}
    found = {name: list(scaling.outliers(split.features)) for name, split in splits.items()}
    if scaling.ordinary and not any(found.values()):
        return Prepared(inputs, None, [])
    weight, bias = scaling.head_on_scaled(inputs.weight, inputs.bias)
    scaled = {name: replace(split, features=ScaledFeatures(split.features, scaling)) for name, split in splits.items()}
    notes = [_about_rows(name, len(splits[name]), rows) for name, rows in found.items() if rows]
    if scaling.wide:
        notes.append(_about_columns(scaling))
    return Prepared(replace(inputs, **scaled, weight=weight, bias=bias), scaling, notes)  # type: ignore[arg-type]


def _about_rows(split: str, count: int, rows: list[Outlier]) -> str:
    named = ", ".join(map(str, sorted(rows, key=lambda outlier: -outlier.distance)[:NAMED]))
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return (
        f"features: outliers in {len(rows)} of {count} {split} rows count as missing (their columns' medians):"
        f" {named}{more}"
    )


def _about_columns(scaling: RobustScaling) -> str:
    usual = float(scaling.scale.median())
    wide = scaling.wide
    named = ", ".join(f"{column} ({float(scaling.scale[column]) / usual:.3g} times)" for column in wide[:NAMED])
    more = f" and {len(wide) - NAMED} more" if len(wide) > NAMED else ""
    return f"features: columns that vary far more than the others are scaled down: {named}{more}"
