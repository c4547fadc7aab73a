"""Kernel ridge regression on labels, and what it says of each sample when it has not seen it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.data.counter_rng import generator
from labelwise.models.closed_form import KernelRidge, squared_distances
from labelwise.training.closed_form.candidates import BLOCK, Candidate, Samples, location, set_layer, set_samples

RIDGE = tuple(10.0 ** (j / 2) for j in range(-6, 9))
"""kernel_ridge: factor of the squared norm of the weights, against the sum of squared errors."""

BANDWIDTH = (0.5, 0.7, 1.0, 1.4, 2.0)
"""kernel_ridge: width of the kernel, in units of the root mean square distance of two samples."""

SMALLEST_EIGENVALUE = 1e-8
"""kernel_ridge: directions of the kernel of the centres with less, relative to the largest, are left out: they are
rounding errors, and float32 networks could not hold their weights."""


@dataclass(frozen=True)
class RidgePath:
    """Ridge regression with a free intercept for every strength at once: minimises \\|Y - Z W - b\\|^2 + ridge
    \\|W\\|^2.

    Attributes
    ----------
    axes : (F, R) principal axes of the centred features, their eigenvalues ``strength`` (R,)
    moment : (R, K) products of the centred features with the targets, along the axes
    centre, target : (F,) and (K,) means
    count : number of samples
    """

    axes: Tensor
    strength: Tensor
    moment: Tensor
    centre: Tensor
    target: Tensor
    count: int

    @staticmethod
    def of(blocks: Iterator[tuple[Tensor, Tensor]]) -> RidgePath:
        """From features (n, F) and targets (n, K), block by block."""
        total, square, product, target, count = (0.0, 0.0, 0.0, 0.0, 0)  # type: tuple[Any, Any, Any, Any, int]
        for z, y in blocks:
            total, square, product = total + z.sum(0), square + z.T @ z, product + z.T @ y
            target, count = target + y.sum(0), count + len(z)
        centre, target = total / count, target / count
        strength, axes = torch.linalg.eigh(square - count * torch.outer(centre, centre))
        moment = axes.T @ (product - count * torch.outer(centre, target))
        return RidgePath(axes, strength.clamp(min=0), moment, centre, target, count)

    def solution(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Weights (F, K) and intercepts (K,)."""
        weight = self.axes @ (self.moment / (self.strength + ridge)[:, None])
        return weight, self.target - self.centre @ weight

    def along(self, z: Tensor) -> Tensor:
        """Coordinates (n, R) of features (n, F) along the axes, from their centre."""
        return (z - self.centre) @ self.axes

    def answers(self, along: Tensor, ridge: float) -> Tensor:
        """(n, K) to coordinates (n, R)."""
        return along @ (self.moment / (self.strength + ridge)[:, None]) + self.target

    def leave_one_out(self, along: Tensor, y: Tensor, ridge: float) -> Tensor:
        """The answers (n, K) to samples of the fit with coordinates (n, R), each by the regression without it.

        (f - h y) / (1 - h) with the diagonal h of the hat matrix (Cook and Weisberg 1982, 2.2).
        """
        leverage = (1 / self.count + along.square() @ (1 / (self.strength + ridge)))[:, None]
        return (self.answers(along, ridge) - leverage * y) / (1 - leverage).clamp(min=1e-12)


def ridge_leave_one_out(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """What ridge regression with a free intercept says of each sample when it has not seen it: exact, and at once.

    Parameters
    ----------
    features : (N, F) float64; of kernel ridge regression its Nyström features
    targets : (N, K) float64
    ridge : above 0

    Returns
    -------
    (N, K) float64

    Examples
    --------
    >>> features, targets = torch.tensor([[0.0], [1.0], [2.0]]).double(), torch.tensor([[0.0], [1.0], [2.0]]).double()
    >>> ridge_leave_one_out(features, targets, 1e-9)[2].round(decimals=3).item()  # the line through the other two
    2.0
    """
    path = RidgePath.of(iter([(features, targets)]))
    return path.leave_one_out(path.along(features), targets, ridge)


@dataclass(frozen=True)
class Nystroem:
    """Features whose products are those of a Gaussian kernel, as far as some centres know it.

    K_nm K_mm^(-1/2) for m centres (Williams and Seeger 2001). With all samples as centres it is exact.
    """

    scale: float
    centres: Tensor
    whitening: Tensor

    @staticmethod
    def of(samples: Tensor, scale: float) -> Nystroem:
        """With ``samples`` (M, D) as centres of a kernel exp(-(scale distance)^2)."""
        centres = samples * scale
        values, vectors = torch.linalg.eigh(torch.exp(-squared_distances(centres, centres)))
        kept = values > SMALLEST_EIGENVALUE * values[-1]
        return Nystroem(scale, centres, vectors[:, kept] / values[kept].sqrt())

    def __call__(self, x: Tensor) -> Tensor:
        """(n, D) to (n, F)."""
        return self.kernel(x) @ self.whitening

    def kernel(self, x: Tensor) -> Tensor:
        """Kernel (n, M) of samples (n, D) with the centres."""
        return torch.exp(-squared_distances(x * self.scale, self.centres))

    def network(self, path: RidgePath, ridge: float, bandwidth: float) -> nn.Module:
        """Kernel and regression as a network of two layers."""
        weight, bias = path.solution(ridge)
        number, features = self.centres.shape
        made = KernelRidge(len(bias), features, number, bandwidth).double()
        set_layer(made.classifier, (self.whitening @ weight).T, bias)
        set_samples(made.centres, self.centres, made.scale, self.scale)
        return made


def kernel_ridge(fit: Samples, asked: Tensor | None, args: dict[str, Any], seed: int) -> Iterator[Candidate]:
    """Ridge regression on hard or soft labels with Nyström features of a Gaussian kernel."""
    _, spread = location(fit.x)
    features = fit.x.shape[1]
    template = KernelRidge(fit.y.shape[1], features, **args)
    drawn = torch.from_numpy(generator(seed, "centres").permutation(len(fit.x))[: len(template.centres)])
    for bandwidth in [template.bandwidth] if template.bandwidth else BANDWIDTH:
        nystroem = Nystroem.of(fit.x[drawn], (2 * features) ** -0.5 / (bandwidth * spread))
        path = RidgePath.of((nystroem(x), y) for x, y in _blocks(fit))
        if asked is None:
            parts = [_left_out(path, path.along(nystroem(x)), y) for x, y in _blocks(fit)]
            scores = [torch.cat(part) for part in zip(*parts, strict=True)]
        else:
            along = torch.cat([path.along(nystroem(x)) for x in asked.split(BLOCK)])
            scores = [path.answers(along, ridge) for ridge in RIDGE]
        for ridge, found in zip(RIDGE, scores, strict=True):
            words = f"bandwidth {bandwidth:g}, ridge {ridge:.3g}"
            yield Candidate(words, partial(nystroem.network, path, ridge, bandwidth), found)


def _blocks(fit: Samples) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(fit.x.split(BLOCK), fit.y.split(BLOCK), strict=True)


def _left_out(path: RidgePath, along: Tensor, y: Tensor) -> list[Tensor]:
    return [path.leave_one_out(along, y, ridge) for ridge in RIDGE]
