"""How labels are corrupted for experiments: simulated noise of an exact rate, drawn per sample and reproducible.

Every draw is a hash of (seed, sample key), so it depends neither on the order of the samples nor on the platform, and
the labels replaced at a lower rate are also replaced at a higher one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import DataError

_GOLDEN = 0x9E3779B97F4A7C15


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
    steps = _hash(keys[rows], seed, stream=1) % np.uint64(max(num_classes - 1, 1))
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
        raise DataError("noise: a single class has no other class to take")
    # Equal keys (hash collisions) fall back to the key's order, not to the row's, as long as keys differ.
    return np.lexsort((keys, _hash(keys, seed, stream=0)))[:count].astype(np.int64)


def _hash(keys: NDArray[np.uint64], seed: int, stream: int) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014), twice: over the seed and stream, then over the keys."""
    start = np.array([(2 * seed + stream + 1) * _GOLDEN % 2**64], dtype=np.uint64)
    return _mix(keys ^ _mix(start))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
