"""The nearest neighbours of samples by the cosine of their embeddings, and which samples are far from all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.data.counter_rng import generator

REFERENCES = 50_000
"""Samples among which neighbours are looked for, at most, so that the time grows no faster than their number."""

LARGEST = 1 << 25
"""Numbers that the comparison of some samples with all references may hold."""

OUTLIER_NEIGHBOURS = 20
"""An outlier is judged by its distance to so many. The area under the ROC of 40 images of a class among 4,000 of the
nine others (CIFAR-10, mean of ten classes) is .685, .689 and .721 with 10, 20 and 50; a class of fewer samples than
neighbours would look like outliers."""

OUTLIER_REFERENCES = 10_000
"""References of outliers: a mean distance needs fewer of them than a vote."""


@dataclass(frozen=True)
class Neighbours:
    """Of the samples ``rows`` (m,) their k nearest neighbours ``index`` (m, k), and ``cosine`` (m, k), from the nearest
    on; -inf where there is no further sample of another group."""

    rows: NDArray[np.int64]
    index: NDArray[np.int64]
    cosine: Tensor


def nearest(
    x: NDArray[np.floating],
    groups: NDArray[np.generic],
    count: int,
    seed: int,
    *,
    references: int = REFERENCES,
    width: int = 0,
) -> Iterator[Neighbours]:
    """The nearest neighbours of all samples by the cosine, block by block.

    Parameters
    ----------
    x : (n, D) embeddings; their mean is taken off
    groups : (n,) a sample has no neighbours in its group, and none in itself
    count : number of neighbours; of few references all of them
    seed : draws the references, where there are more samples
    references : samples among which neighbours are looked for, at most
    width : numbers that the caller makes of each sample, which bound the blocks, too
    """
    unit = unit_rows(centred(x))
    drawn = torch.from_numpy(np.sort(generator(seed, "references").permutation(len(unit))[:references]))
    reference, group = unit[drawn], torch.from_numpy(np.unique(groups, return_inverse=True)[1].astype(np.int32))
    for rows in torch.arange(len(unit)).split(max(1, LARGEST // max(len(drawn), width))):
        cosine = unit[rows] @ reference.T
        cosine.masked_fill_(group[rows][:, None] == group[drawn], -torch.inf)
        found = cosine.topk(min(count, len(drawn)))
        yield Neighbours(rows.numpy(), drawn[found.indices].numpy(), found.values)


def weights(cosine: Tensor, sharpness: float) -> Tensor:
    """How much each neighbour (m, k) counts: exp(sharpness (cosine - that of the nearest)), 0 for one that is none."""
    return torch.exp(sharpness * (cosine - cosine[:, :1])).nan_to_num_(0.0)


def outlier_scores(embeddings: NDArray[np.floating], seed: int = 0) -> NDArray[np.float64]:
    """How far each sample is from its nearest neighbours, compared with the typical sample.

    The mean cosine distance to the k nearest (Angiulli and Pizzuti 2002), less its median, in upper standard
    deviations: (third quartile - median) / 0.6745, as of a normal distribution.

    Parameters
    ----------
    embeddings : (n, D); their mean is taken off
    seed : draws the samples among which neighbours are sought, where there are more than `OUTLIER_REFERENCES`

    Returns
    -------
    (n,); all 0 where no distance differs from the median by much
    """
    n = len(embeddings)
    count = min(OUTLIER_NEIGHBOURS, min(n, OUTLIER_REFERENCES) - 1)
    distance = np.zeros(n)
    for found in nearest(embeddings, np.arange(n), count, seed, references=OUTLIER_REFERENCES):
        distance[found.rows] = 1 - found.cosine.mean(1).double().numpy()
    median, quartile = np.quantile(distance, [0.5, 0.75])
    spread = (quartile - median) / 0.6745
    return (distance - median) / spread if spread > 1e-6 else np.zeros(n)


def centred(embeddings: NDArray[np.floating]) -> Tensor:
    """float32 less the mean: the common part of all embeddings would make every cosine large."""
    values = torch.from_numpy(np.array(embeddings, dtype=np.float32))
    return values.sub_(values.mean(0))


def unit_rows(vectors: Tensor) -> Tensor:
    """Make the rows of length one, in place; a row of zeros stays so, and is like no other."""
    return vectors.div_(torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min_(1e-12))
