"""Label strategies: what uncertain and unknown labels count as in training. Pure functions from table to table.

Whatever a strategy fills in is marked INFERRED, so it never counts as known. Uncertain first, then unknown: an
uncertain label that becomes unknown is then treated like one. The policies are those of the literature on partial
labels and of CheXpert (U-Ignore, U-Zeros, U-Ones; label smoothing regularisation, LSR, of Pham et al. 2021).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from labelwise.config import UncertainPolicy, UnknownPolicy
from labelwise.errors import ConfigError, DataError
from labelwise.labels.protocols import hash_keys, splitmix64
from labelwise.labels.table import GIVEN, INFERRED, UNCERTAIN, UNKNOWN, LabelTable

Range = tuple[float, float]

_NO_VALUE = (np.nan, np.nan)
_UNCERTAIN: dict[str, Range] = {
    "unknown": _NO_VALUE,
    "negative": (0.0, 0.0),
    "positive": (1.0, 1.0),
    "smooth-negative": (0.0, 0.3),
    "smooth-positive": (0.55, 0.85),
}
_UNKNOWN: dict[str, Range] = {"ignore": _NO_VALUE, "negative": (0.0, 0.0), "positive": (1.0, 1.0)}


def uncertain(
    table: LabelTable,
    policy: UncertainPolicy | Mapping[str, UncertainPolicy],
    seed: int = 0,
    keys: NDArray[np.uint64] | None = None,
) -> LabelTable:
    """Decide what uncertain labels count as.

    Parameters
    ----------
    table : its uncertain entries are replaced, all others stay
    policy : for all categories, or by category (those that are not named stay as they are):

        - ``unknown``: nothing is inferred (U-Ignore; the default of CFT)
        - ``negative``, ``positive``: 0 (U-Zeros), 1 (U-Ones)
        - ``smooth-negative``, ``smooth-positive``: drawn from U(0, 0.3), U(0.55, 0.85) (LSR)
        - ``(low, up)``: drawn from U(low, up), 0 <= low <= up <= 1
    seed : of the draws
    keys : (N,) uint64, a number per sample that does not depend on its place (``labelwise.data.dataset.sample_keys``);
        the row number by default. A draw depends on seed, key and category name, not on the order of either.

    Returns
    -------
    LabelTable
        Replaced entries are INFERRED, or UNKNOWN by the policy ``unknown``.

    Raises
    ------
    ConfigError
        For a policy or a category that does not exist.
    DataError
        For keys of another shape or dtype.

    Examples
    --------
    >>> table = LabelTable.from_wire([[1, -1], [0, np.nan]], ["edema", "nodule"])
    >>> uncertain(table, "positive").values.tolist()  # the unknown label stays unknown
    [[1.0, 1.0], [0.0, nan]]
    """
    return _infer(table, UNCERTAIN, _ranges(table, "uncertain", policy, _UNCERTAIN), "uncertain", seed, keys)


def unknown(
    table: LabelTable,
    policy: UnknownPolicy | Mapping[str, UnknownPolicy],
    seed: int = 0,
    keys: NDArray[np.uint64] | None = None,
) -> LabelTable:
    """Decide what unknown labels count as; else as :func:`uncertain`. Uncertain entries stay uncertain.

    The policies are ``ignore`` (they stay unknown), ``negative`` ("assume negative", AN), ``positive``, and
    ``(low, up)`` for a draw from U(low, up); entries that are filled in become INFERRED.

    Examples
    --------
    >>> table = LabelTable.from_wire([[1, np.nan], [0, 1]], ["edema", "nodule"])
    >>> filled = unknown(table, "negative")
    >>> filled.values.tolist(), filled.known.tolist()  # filled in, but not known
    ([[1.0, 0.0], [0.0, 1.0]], [[True, False], [True, True]])
    """
    return _infer(table, UNKNOWN, _ranges(table, "unknown", policy, _UNKNOWN), "unknown", seed, keys)


def train_targets(table: LabelTable) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Targets and weights for a loss.

    Returns
    -------
    targets : (N, C) given and inferred values; 0 where unknown or uncertain
    weight : (N, C) the table's weight, or 1; 0 where unknown or uncertain

    Examples
    --------
    >>> table = LabelTable.from_wire([[1, np.nan]], ["edema", "nodule"])
    >>> target, weight = train_targets(table)
    >>> target.tolist(), weight.tolist()
    ([[1.0, 0.0]], [[1.0, 0.0]])
    """
    has_value = (table.source == GIVEN) | (table.source == INFERRED)
    weight = np.float32(1) if table.weight is None else table.weight
    return np.where(has_value, table.values, np.float32(0)), np.where(has_value, weight, np.float32(0))


def require_labels(weight: NDArray[np.float32]) -> None:
    """Refuse to train on labels of which none has a weight above 0, with a DataError.

    Parameters
    ----------
    weight : (n, C) of the samples that are trained on, as :func:`train_targets` has them
    """
    if weight.sum(dtype=np.float64) == 0:
        raise DataError("labels: no label of the fit split is known; there is nothing to train on")


def _ranges(
    table: LabelTable, kind: str, policy: str | Range | Mapping[str, str | Range], named: Mapping[str, Range]
) -> dict[str, Range]:
    """The range of values by category; NaN where a policy infers nothing."""
    if not isinstance(policy, Mapping):
        policy = dict.fromkeys(table.categories, policy)
    categories = set(table.categories)
    ranges: dict[str, Range] = {}
    for category, chosen in policy.items():
        if category not in categories:
            raise ConfigError(f"policy for {kind} labels: '{category}' is not a category of the data")
        if isinstance(chosen, str) and chosen in named:
            ranges[category] = named[chosen]
        elif _is_range(chosen):
            ranges[category] = (chosen[0], chosen[1])
        else:
            raise ConfigError(
                f"policy for {kind} labels, category '{category}': {chosen!r} is not one of {', '.join(named)}"
                " or a range (low, up) with 0 <= low <= up <= 1"
            )
    return ranges


def _is_range(policy: object) -> TypeGuard[Range]:
    return (
        isinstance(policy, tuple | list)  # a list where it was read from YAML
        and len(policy) == 2
        and all(isinstance(bound, int | float) for bound in policy)
        and 0 <= policy[0] <= policy[1] <= 1
    )


def _infer(
    table: LabelTable,
    code: int,
    ranges: dict[str, Range],
    stream: str,
    seed: int,
    keys: NDArray[np.uint64] | None,
) -> LabelTable:
    """Give the entries whose source is ``code`` a value within their category's range."""
    n = len(table)
    keys = np.arange(n, dtype=np.uint64) if keys is None else keys
    if keys.shape != (n,) or keys.dtype != np.uint64:
        raise DataError(f"labels: keys must be uint64, one for each of {n} samples; found {keys.dtype} {keys.shape}")
    low, up = np.array([ranges.get(category, _NO_VALUE) for category in table.categories]).reshape(-1, 2).T
    named = np.array([category in ranges for category in table.categories], dtype=bool)

    here = (table.source == code) & named
    values = np.where(here, low.astype(np.float32), table.values)
    filled = np.where(np.isnan(low), UNKNOWN, INFERRED).astype(np.uint8)
    source = np.where(here, filled, table.source)
    rows, columns = np.nonzero(here & (low < up))
    if len(rows):
        draws = _uniforms(hash_keys(keys, seed, stream=0)[rows], _category_keys(table, stream)[columns])
        values[rows, columns] = low[columns] + (up - low)[columns] * draws
    return replace(table, values=values, source=source)


def _category_keys(table: LabelTable, stream: str) -> NDArray[np.uint64]:
    """A 64-bit number per category name and stream, the same on every machine."""
    names = (f"{stream}\0{category}".encode() for category in table.categories)
    digests = (hashlib.blake2b(name, digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)


def _uniforms(sample: NDArray[np.uint64], category: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 bits, one for each (sample, category)."""
    return (splitmix64(sample ^ category) >> np.uint64(11)).astype(np.float64) * 2.0**-53
