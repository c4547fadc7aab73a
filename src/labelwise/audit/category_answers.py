"""Two classifiers of embeddings for partly known multi-label data. Each answers every cell, known or not, without the
label of that cell, and has learnt from known labels alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.audit.category_noise import GivenCells
from labelwise.audit.neighbours import nearest, weights
from labelwise.cft.solvers.coordinates import Coordinates, principal_coordinates
from labelwise.cft.solvers.inputs import blocks
from labelwise.cft.solvers.logistic import STEPS, fit_logistic, make_grid
from labelwise.data.counter_rng import derive_seed, generator
from labelwise.training.closed_form.candidates import BLOCK, location
from labelwise.training.closed_form.kernel import Nystroem

CENTRES, BANDWIDTH, RANK = 1000, 0.85, 512
"""Kernel: number of its centres, width in units of the root mean square distance of two samples, and principal
coordinates of its features that are used."""

GRID = make_grid((1.0, 4.0, 16.0))
"""Prior variances of the logit. Of each category the one with the likeliest known labels is kept."""

CATEGORIES, BUDGET = 256, 64_000_000
"""Categories that are solved together at most, and numbers that their working arrays may hold."""

NEIGHBOURS, SHARPNESS, DOUBT = 50, 5.0, 1.0
"""Nearest neighbours: how many answer, how fast their weight exp(s (cosine - cosine of the nearest)) falls, and the
weight of the category's prevalence beside them."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Cells:
    """Labels of n samples in C categories.

    Parameters
    ----------
    values : (n, C) 1 positive, 0 negative, NaN unknown
    fold : (n,) from 0; no group is parted
    groups : (n,)
    first : (n, C) labels before any correction, NaN where unknown; None where there was none
    reviewed : (n, C) a person has looked: the label is right; None where nobody has
    """

    values: Array
    fold: NDArray[np.int64]
    groups: NDArray[np.str_]
    first: Array | None = field(default=None, kw_only=True)
    reviewed: NDArray[np.bool_] | None = field(default=None, kw_only=True)

    def given(self) -> GivenCells:
        """The labels, and what became of them."""
        nobody = np.zeros(self.values.shape, dtype=bool)
        certain = nobody if self.reviewed is None else self.reviewed & np.isfinite(self.values)
        return GivenCells(self.values, self.values if self.first is None else self.first, certain)


@dataclass(frozen=True)
class EmbeddedCells(Cells):
    """The same with embeddings ``x`` (n, D) of the samples."""

    x: Array


def kernel_logistic(data: EmbeddedCells, seed: int) -> Array:
    """Logits (n, C) of logistic regression on Nyström features of a Gaussian kernel, each by the other folds."""
    kernel, coordinates = _kernel(data.x, seed)
    x = torch.from_numpy(data.x)
    z = torch.cat([coordinates.transform(kernel(part.double()).float()) for part in x.split(BLOCK)])
    out = np.empty_like(data.values)
    for own in torch.arange(data.values.shape[1]).split(CATEGORIES):
        labels = torch.from_numpy(data.values[:, own.numpy()])
        logits = torch.empty(*labels.shape, len(GRID))
        for fold in range(int(data.fold.max()) + 1):
            unseen = torch.from_numpy(data.fold == fold)
            logits[unseen] = _answer(z, torch.where(unseen[:, None], torch.nan, labels), unseen, coordinates)
        known = ~torch.isnan(labels)[..., None]
        target = labels.nan_to_num()[..., None]
        loss = torch.where(known, torch.nn.functional.softplus(logits) - target * logits, 0.0).sum(0)
        best = loss.argmin(1).expand(len(x), -1)[..., None]
        out[:, own.numpy()] = logits.gather(2, best)[..., 0].numpy()
    return out


def _answer(z: Tensor, labels: Tensor, asked: Tensor, coordinates: Coordinates) -> Tensor:
    """Logits (m, c, L) of the rows ``asked`` (n,) by regressions on the known ``labels`` (n, c)."""
    found = torch.empty(int(asked.sum()), labels.shape[1], len(GRID))
    for block in blocks(z, labels, None, torch.arange(labels.shape[1]), len(GRID), BUDGET):
        solved = fit_logistic(block, GRID, coordinates, max_steps=STEPS)
        found[:, block.categories] = torch.einsum("nr,crl->ncl", z[asked], solved.weight) + solved.bias
    return found


def _kernel(x: Array, seed: int) -> tuple[Nystroem, Coordinates]:
    drawn = torch.from_numpy(x[generator(seed, "centres").permutation(len(x))[: 16 * CENTRES]]).double()
    scale = (2 * x.shape[1]) ** -0.5 / (BANDWIDTH * location(drawn)[1])
    kernel = Nystroem.of(drawn[:CENTRES], scale)
    sample = torch.cat([kernel(part).float() for part in drawn.split(BLOCK)])
    return kernel, principal_coordinates(sample, RANK, seed=derive_seed(seed, "coordinates"))


def nearest_neighbours(data: EmbeddedCells, seed: int) -> Array:
    """Logits (n, C) of the known labels of the most similar samples of other groups, by the cosine."""
    known, positive = ~np.isnan(data.values), np.nan_to_num(data.values)
    negative = known & (positive < 0.5)
    prevalence = (positive.sum(0) + 0.5) / (known.sum(0) + 1)
    out = np.empty_like(data.values)
    for near in nearest(data.x, data.groups, NEIGHBOURS, seed, width=NEIGHBOURS * known.shape[1]):
        weight = weights(near.cosine, SHARPNESS).numpy()
        up = np.einsum("mk,mkc->mc", weight, positive[near.index]) + DOUBT * prevalence
        down = np.einsum("mk,mkc->mc", weight, negative[near.index]) + DOUBT * (1 - prevalence)
        out[near.rows] = np.log(up / down)
    return out
