"""Principal coordinates of the features, in which the solvers work.

A logistic problem is nearly diagonal in them, so solvers need few steps. A prior over directions becomes one number per
coordinate: how far the logit may move along directions of large variance, and how far along those of small variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelwise.errors import DataError
from labelwise.features.shards import FeatureArray

Features = FeatureArray | Tensor
"""(N, D) or (N, C, D): an array, a memory map, some rows of one, or a tensor."""

SAMPLE_ROWS = 16_384
"""Most rows that the directions are computed from."""

CHUNK_VALUES = 1 << 24
"""Feature values converted to float32 at once (64 MB)."""

_POWER_STEPS, _EXTRA = 2, 16
_RESOLVED = 1e-6  # smaller eigenvalues of a float32 Gram matrix, relative to the first, are rounding


@dataclass(frozen=True)
class Coordinates:
    """``x = (z - centre) @ directions`` for features z; the variances of x over the sample sum to at most one.

    Attributes
    ----------
    centre : (D,) float32
    directions : (D, R) float32, orthogonal columns of one common length
    deviation : (R,) float32, standard deviation of each coordinate, decreasing, above zero
    """

    centre: Tensor
    directions: Tensor
    deviation: Tensor

    @property
    def rank(self) -> int:
        return self.directions.shape[1]

    def transform(self, features: Features) -> Tensor:
        """Coordinates (N, R) of features (N, D), or (N, C, R) of (N, C, D); a memory-mapped array is read in chunks."""
        shape = features.shape
        out = torch.empty((*shape[:-1], self.rank), device=self.centre.device)
        step = max(1, CHUNK_VALUES // max(1, int(np.prod(shape[1:]))))
        offset = self.centre @ self.directions
        for start in range(0, shape[0], step):
            part = as_float(features[start : start + step], self.centre.device)
            out[start : start + step] = part @ self.directions - offset
        return out

    def to_features(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Heads (..., R) and biases (...) on coordinates as heads (..., D) and biases on features."""
        full = weight @ self.directions.T
        return full, bias - full @ self.centre


def principal_coordinates(
    features: Features, rank: int, *, seed: int = 0, device: torch.device | str = "cpu"
) -> Coordinates:
    """The leading ``rank`` principal directions of (a sample of) the rows.

    Parameters
    ----------
    features : (N, D), or (N, C, D) whose N x C vectors share the directions
    rank : at most so many; fewer where the sample spans fewer

    Raises
    ------
    DataError
        If all rows are equal.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(features))
    per_row = int(np.prod(features.shape[1:-1]))
    if len(rows) * per_row > SAMPLE_ROWS:
        rows = np.sort(rng.choice(rows, max(1, SAMPLE_ROWS // per_row), replace=False))
        sample = as_float(features[rows], device)
    else:
        sample = as_float(features, device)
    sample = sample.reshape(-1, sample.shape[-1])
    equal = bool((sample == sample[0]).all())  # the mean of equal rows is rounded
    centre = sample.mean(0)
    sample = sample - centre
    total = float((sample * sample).sum()) / len(sample)
    if equal or not total > 0:
        raise DataError("the features of all fit rows are equal: nothing can be learnt")
    rank = min(rank, *sample.shape)
    directions, variance = _leading(sample, rank, rng)
    kept = variance > 1e-10 * variance[0]
    scale = total**-0.5
    return Coordinates(centre, directions[:, kept] * scale, variance[kept].sqrt() * scale)


def _leading(sample: Tensor, rank: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Principal directions (D, rank) and variances (rank,) of centred rows.

    Exact from the Gram matrix where most directions are wanted; else by subspace iteration (Halko et al. 2011,
    algorithm 4.4), which costs a few products with a thin matrix.
    """
    n, dim = sample.shape
    if 3 * rank >= min(n, dim):
        gram = sample.T @ sample if dim <= n else sample @ sample.T
        values, vectors = torch.linalg.eigh(gram)
        values, vectors = values.flip(0)[:rank].clamp_min(0), vectors.flip(1)[:, :rank]
        if dim > n:
            # Rows span fewer directions than there are columns; the others are rounding in float32.
            values = torch.where(values > _RESOLVED * values[0], values, 0.0)
            vectors = sample.T @ (vectors / values.sqrt().clamp_min(1e-12))
        return vectors, values / n
    start = torch.from_numpy(rng.standard_normal((dim, min(rank + _EXTRA, n, dim)), dtype=np.float32))
    basis = start.to(sample.device)
    for _ in range(_POWER_STEPS):
        basis = torch.linalg.qr(sample.T @ (sample @ basis)).Q
    inside = sample @ basis
    values, vectors = torch.linalg.eigh(inside.T @ inside)
    return basis @ vectors.flip(1)[:, :rank], values.flip(0)[:rank].clamp_min(0) / n


def linear_logits(features: Features, weight: Tensor, bias: Tensor, categories: Tensor | None = None) -> Tensor:
    """Logits of linear heads. A memory map is read in chunks.

    Parameters
    ----------
    features : (N, D) or (N, C, D)
    weight, bias : (c, D) and (c,)
    categories : (c,) which of the features (N, C, D) the heads belong to; None: all, in order

    Returns
    -------
    (N, c) float32
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
    if not bool(torch.isfinite(out).all()):  # of an outlier under a large head
        out.nan_to_num_(nan=0.0)
    return out


def as_float(values: Features, device: torch.device | str = "cpu") -> Tensor:
    """float32 on the device; a read-only memory map is copied."""
    if isinstance(values, Tensor):
        return values.to(device=device, dtype=torch.float32)
    array = np.asarray(values)
    if array.dtype == np.float16:  # NumPy widens halves slowly and on one thread
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device).float()
    with np.errstate(over="ignore"):  # infinite numbers are refused with their place
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(device)
