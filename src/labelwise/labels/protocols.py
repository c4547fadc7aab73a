"""How labels are corrupted or hidden for experiments, by an exact rate or a published rule, and reproducible.

Noise: every draw is a hash of (seed, sample key), so it depends neither on the order of the samples nor on the
platform, and the labels replaced at a lower rate are also replaced at a higher one.

Hiding: the ``keep_`` functions return a mask (N, C) for :meth:`LabelTable.hide`. Papers differ
in what they hide and in how they draw it, so each rule is its own function. All follow the order of the samples, and
for one seed a smaller share or count keeps a subset of what a larger one keeps. Soft labels count as positive from 0.5
on; inferred labels are never kept (``keep_hcp`` sees no labels): hide before a strategy fills anything in.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, UNCERTAIN, LabelTable

_GOLDEN = 0x9E3779B97F4A7C15

BLOCK_ELEMENTS = 1 << 22
"""Entries that are drawn at once, about 30 bytes each."""


def uniform_noise(
    label: NDArray[np.int64], num_classes: int, rate: float, seed: int, keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Replace labels by another class, all other classes being equally likely ("symmetric" noise).

    Parameters
    ----------
    label : (N,) class indices
    num_classes : number of classes, at least 2 where anything is replaced
    rate : share in [0, 1]; exactly ``round(rate * N)`` labels are replaced
    seed : another seed draws other samples and classes
    keys : (N,) a number per sample that does not depend on its place, see ``labelwise.data.dataset.sample_keys``

    Returns
    -------
    (N,) noisy labels, a new array

    Raises
    ------
    DataError
        For a rate outside [0, 1], labels out of range, a single class, or keys of another length.
    """
    rows = _rows_to_replace(label, num_classes, rate, seed, keys)
    steps = hash_keys(keys[rows], seed, stream=1) % np.uint64(max(num_classes - 1, 1))
    noisy = label.copy()
    noisy[rows] = (label[rows] + 1 + steps.astype(np.int64)) % num_classes
    return noisy


def pair_noise(
    label: NDArray[np.int64], num_classes: int, rate: float, seed: int, keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Replace labels by the next class, the last class by the first ("pair flip"); else as :func:`uniform_noise`."""
    rows = _rows_to_replace(label, num_classes, rate, seed, keys)
    noisy = label.copy()
    noisy[rows] = (label[rows] + 1) % num_classes
    return noisy


def _rows_to_replace(
    label: NDArray[np.int64], num_classes: int, rate: float, seed: int, keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """The ``round(rate * N)`` rows with the smallest hash."""
    if not 0.0 <= rate <= 1.0:
        raise DataError(f"noise: rate {rate} is not within 0 and 1")
    if keys.shape != label.shape or label.ndim != 1:
        raise DataError(f"noise: labels {label.shape} and keys {keys.shape} must be one per sample")
    if label.size and (label.min() < 0 or label.max() >= num_classes):
        raise DataError(f"noise: labels must be 0 to {num_classes - 1}, found {label.min()} to {label.max()}")
    count = round(rate * len(label))
    if count and num_classes < 2:
        raise DataError("noise: labels of a single class cannot be made wrong")
    # Equal keys (hash collisions) fall back to the key's order, not to the row's, as long as keys differ.
    return np.lexsort((keys, hash_keys(keys, seed, stream=0)))[:count].astype(np.int64)


def hash_keys(keys: NDArray[np.uint64], seed: int, stream: int) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014), twice: over the seed and stream (0 or 1), then over the keys."""
    start = np.array([(2 * seed + stream + 1) * _GOLDEN % 2**64], dtype=np.uint64)
    return splitmix64(keys ^ splitmix64(start))


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def keep_uniform(table: LabelTable, share: float, seed: int = 526) -> NDArray[np.bool_]:
    """Keep every label with the same probability, by the draws of the CFT paper (released code of arXiv 2401.16991).

    Image by image, PCG64 draws one uniform number per positive category (ascending), then one per negative, then one
    per uncertain; what is drawn below ``share`` is kept.

    Parameters
    ----------
    table : the samples in the order of the annotation file; uncertain labels are drawn and kept like given ones
    share : probability in [0, 1]
    seed : 526 is the paper's

    Returns
    -------
    (N, C) mask

    Raises
    ------
    DataError
        For a share outside [0, 1] or a negative seed.

    Examples
    --------
    >>> table = LabelTable.from_wire(np.ones((1000, 2)), ["edema", "nodule"])
    >>> keep = keep_uniform(table, share=0.1)
    >>> float(table.hide(keep).known.mean().round(1))
    0.1
    """
    _check_share(share)
    rng = _generator(seed)
    positive, negative = _given(table)
    keep = np.zeros(positive.shape, dtype=bool)
    for rows in _blocks(keep.shape):
        turn = np.full(positive[rows].shape, 3, dtype=np.uint8)
        for number, kind in enumerate((positive[rows], negative[rows], table.source[rows] == UNCERTAIN)):
            turn[kind] = number
        order = np.argsort(turn, axis=1, kind="stable")
        has_draw = np.take_along_axis(turn, order, axis=1) < 3
        draws = np.ones(turn.shape)
        draws[has_draw] = rng.random(int(has_draw.sum()))
        np.put_along_axis(keep[rows], order, draws < share, axis=1)
    return keep


def keep_uniform_by_cell(table: LabelTable, share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Keep every label with the same probability, by one draw of PCG64(526 + seed) per cell in array order.

    Unlike in :func:`keep_uniform` the draw does not depend on the labels. Uncertain labels are kept like given ones.
    """
    _check_share(share)
    rng = _generator(526 + seed)
    keep = (table.source == GIVEN) | (table.source == UNCERTAIN)
    for rows in _blocks(keep.shape):
        keep[rows] &= rng.random(keep[rows].shape) < share
    return keep


def keep_hcp(shape: tuple[int, int], share: float, seed: int = 0) -> NDArray[np.bool_]:
    """The mask of SST, SARB and HST (repository HCP-MLR-PL) for a label matrix of ``shape`` (N, C).

    One uniform matrix by NumPy's legacy generator, its numbers below ``share`` kept. It is drawn for all cells,
    whatever the labels are; uncertain and inferred entries are kept where it says so.
    """
    _check_share(share)
    if not 0 <= seed < 2**32:
        raise DataError(f"hiding: seed {seed} is not within 0 and 2^32 - 1")
    return np.random.RandomState(seed).uniform(size=shape) < share


def keep_single_positive(table: LabelTable, seed: int = 526) -> NDArray[np.bool_]:
    """Keep one given positive per sample, each with the same probability, and nothing else (Cole et al. 2021).

    A sample without a given positive, and every uncertain label, becomes unknown.

    Examples
    --------
    >>> table = LabelTable.from_wire([[1, 1, 0], [0, 1, 0]], ["a", "b", "c"])
    >>> keep_single_positive(table).sum(axis=1).tolist()
    [1, 1]
    """
    positive, _ = _given(table)
    pick = (_generator(seed).random(len(table)) * positive.sum(axis=1)).astype(np.int64)
    return positive & (positive.cumsum(axis=1, dtype=np.int32) == pick[:, None] + 1)


def keep_fixed_per_category(table: LabelTable, count: int, seed: int = 526) -> NDArray[np.bool_]:
    """Keep up to ``count`` given positives and up to ``count`` given negatives of every category.

    Fixed per class, FPC(k), of CSL (Ben-Baruch et al. 2022). Uncertain labels become unknown. A category with fewer
    positives than that keeps more negatives than positives; compare :func:`keep_balanced_per_category`.
    """
    _check_count(count)
    positive, negative = _given(table)
    return _keep_per_category(positive, negative, np.full(positive.shape[1], count), seed)


def keep_balanced_per_category(table: LabelTable, count: int, seed: int = 526) -> NDArray[np.bool_]:
    """Keep up to ``count`` given labels of every category, as many positives as negatives.

    Fixed per class of the library mlcpl: min(positives, negatives, count // 2) of each, so its 1000 is 500 in
    :func:`keep_fixed_per_category`. Uncertain labels become unknown.
    """
    _check_count(count)
    positive, negative = _given(table)
    quota = np.minimum(np.minimum(positive.sum(axis=0), negative.sum(axis=0)), count // 2)
    return _keep_per_category(positive, negative, quota, seed)


def keep_positives(table: LabelTable, share: float, seed: int = 526) -> NDArray[np.bool_]:
    """Drop positives at random until ``share`` of them is left, and keep nothing else (SPLC, Zhang et al. 2021).

    Exactly ``round(share * P)`` of the P given positives are kept, from anywhere in the table: a sample may lose all.
    Negatives and uncertain labels become unknown; SPLC itself then assumes all unknown labels negative.
    """
    _check_share(share)
    positive, _ = _given(table)
    cells = _generator(seed).permutation(np.flatnonzero(positive))
    keep = np.zeros(positive.size, dtype=bool)
    keep[cells[: round(share * len(cells))]] = True
    return keep.reshape(positive.shape)


def _keep_per_category(
    positive: NDArray[np.bool_], negative: NDArray[np.bool_], quota: NDArray[np.int64], seed: int
) -> NDArray[np.bool_]:
    """Up to ``quota`` (C,) of the positives and as many of the negatives, at random."""
    rng = _generator(seed)
    keep = np.zeros(positive.shape, dtype=bool)
    for column in range(positive.shape[1]):
        for mask in (positive, negative):
            # All are permuted, whatever the quota: that is what makes the masks nested.
            rows = rng.permutation(np.flatnonzero(mask[:, column]))
            keep[rows[: quota[column]], column] = True
    return keep


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of a table, some at a time: draws go on from one to the next, and only their memory is saved."""
    step = max(1, BLOCK_ELEMENTS // max(1, shape[1]))
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _given(table: LabelTable) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Given positives and given negatives, (N, C) each."""
    known, high = table.known, table.values >= 0.5
    return known & high, known & ~high


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise DataError(f"hiding: seed {seed} is negative")
    return np.random.Generator(np.random.PCG64(seed))


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise DataError(f"hiding: share {share} is not within 0 and 1")


def _check_count(count: int) -> None:
    if not isinstance(count, int | np.integer) or count < 0:
        raise DataError(f"hiding: count {count} is not a whole number of labels")
