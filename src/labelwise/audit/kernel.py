"""Kernel ridge regression that answers each sample without its own label: exact, for all samples at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.data.counter_rng import generator
from labelwise.training.closed_form.candidates import BLOCK, location
from labelwise.training.closed_form.fit import inverse_temperature
from labelwise.training.closed_form.kernel import RIDGE, Nystroem, RidgePath

CENTRES = 2000
"""Fixed, so that memory does not grow with the square of the number of samples."""

FITTED = 100_000
"""Samples that the regression is fitted to, at most, by whole groups. All others have not been seen by it anyway, and
what it says of them costs a tenth."""

Rows = NDArray[np.int64]


class UnseenKernelRidge:
    """Nyström features of a Gaussian kernel, and ridge regression on any labels.

    The bandwidth is the root mean square distance of two samples. Ridge and temperature are those of the likeliest
    answers to one block of samples.

    Parameters
    ----------
    x : (n, D) embeddings
    groups : (n,) a sample is answered without the labels of all samples of its group
    seed : draws the centres
    """

    def __init__(self, x: NDArray[np.float32], groups: NDArray[np.str_], seed: int) -> None:
        self._x = torch.from_numpy(x)
        blocks = _blocks(groups, seed)
        self._blocks, self._others = blocks[: -(-FITTED // BLOCK)], blocks[-(-FITTED // BLOCK) :]
        drawn = self._x[generator(seed, "centres").permutation(len(x))[:CENTRES]].double()
        exact = Nystroem.of(drawn, (2 * x.shape[1]) ** -0.5 / location(drawn)[1])
        # Single precision is four times as fast, and its errors are far below any ridge.
        self._nystroem = Nystroem(exact.scale, exact.centres.float(), exact.whitening.float())

    @cached_property
    def _axes(self) -> tuple[RidgePath, Tensor]:
        """The regression without targets, and what turns kernels with the centres into coordinates along its axes."""
        none = torch.empty(len(self._x), 0)
        path = RidgePath.of((self._nystroem(self._x[rows]), none[rows]) for rows, _ in self._blocks)
        return path, self._nystroem.whitening @ path.axes

    def _path(self, y: Tensor) -> RidgePath:
        """The regression on targets (n, K)."""
        path, axes = self._axes
        target = y[np.concatenate([rows for rows, _ in self._blocks])].mean(0)
        product = torch.zeros(len(axes), y.shape[1])
        for rows, _ in self._blocks:
            product += self._nystroem.kernel(self._x[rows]).T @ (y[rows] - target)
        return replace(path, moment=axes.T @ product, target=target)

    def log_probability(self, targets: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.float32]:
        """Answers (n, K) after a fit to ``targets`` (n, K), hard or soft; ``label`` (n,) are the given labels, which
        choose ridge and temperature."""
        y = torch.from_numpy(targets)
        path = self._path(y)
        rows, ends, along = next(self._coordinates())
        given = torch.nn.functional.one_hot(torch.from_numpy(label[rows]), y.shape[1]).float()
        found = [inverse_temperature(_unseen(path, along, y[rows], ends, ridge), given) for ridge in RIDGE]
        best = min(range(len(RIDGE)), key=lambda i: found[i][1])
        log_p = np.empty(targets.shape, dtype=np.float32)
        for rows, ends, along in self._coordinates():
            scores = found[best][0] * _unseen(path, along, y[rows], ends, RIDGE[best])
            log_p[rows] = torch.log_softmax(scores, 1).numpy()
        weight, bias = path.solution(RIDGE[best])
        weight = self._nystroem.whitening @ weight
        for rows, _ in self._others:
            scores = found[best][0] * (self._nystroem.kernel(self._x[rows]) @ weight + bias)
            log_p[rows] = torch.log_softmax(scores, 1).numpy()
        return log_p

    def _coordinates(self) -> Iterator[tuple[Rows, Rows, Tensor]]:
        path, axes = self._axes
        for rows, ends in self._blocks:
            yield rows, ends, self._nystroem.kernel(self._x[rows]) @ axes - path.centre @ path.axes


def _blocks(groups: NDArray[np.str_], seed: int) -> list[tuple[Rows, Rows]]:
    """The samples in blocks of whole groups in random order: rows, and where in the block each group ends."""
    _, group = np.unique(groups, return_inverse=True)
    group = generator(seed, "blocks").permutation(int(group.max()) + 1)[group]
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order], append=-1)) + 1
    found, start = [], 0
    while start < len(order):
        stop = int(ends[min(int(np.searchsorted(ends, start + BLOCK)), len(ends) - 1)])
        found.append((order[start:stop], ends[(ends > start) & (ends <= stop)] - start))
        start = stop
    return found


def _unseen(path: RidgePath, along: Tensor, y: Tensor, ends: Rows, ridge: float) -> Tensor:
    """The answers to whole groups, each by the regression without that group.

    f - (1 - H)^-1 H (y - f) with the block H of the hat matrix of each group, of which the leave-one-out formula is the
    case of one sample (Cook and Weisberg 1982, 2.2 and 3.5).
    """
    found = path.leave_one_out(along, y, ridge)
    starts = np.concatenate([[0], ends[:-1]])
    for start, stop in zip(starts, ends, strict=True):
        if stop - start > 1:
            own = along[start:stop]
            hat = own @ (own / (path.strength + ridge)).T + 1 / path.count
            seen = y[start:stop] - path.answers(own, ridge)
            found[start:stop] = y[start:stop] - torch.linalg.solve(torch.eye(len(hat), dtype=hat.dtype) - hat, seen)
    return found
