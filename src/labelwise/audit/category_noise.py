"""How likely each known label of multi-label data is wrong, from out-of-sample answers to all cells.

The answers z are logits of models that learnt the given labels. Of each category c, p = sigmoid(a_c z + b_c) is the
probability that the right label is positive, of which a share ``missed`` m_c was labelled negative and of the others a
share ``added`` f_c positive: p(given positive) = p (1 - m_c) + (1 - p) f_c. All four numbers are found together, as the
likeliest (forward correction, Patrini et al. 2017, with two classes). Categories know little each, so their numbers are
drawn towards those of all. Bayes' rule then gives the right label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

SPREAD = 20.0
"""Pulls the log-odds of each category's rates towards those of all, in units of one label's log-likelihood."""

START, HELD = 0.03, 2.0
"""Both rates before any label was seen, and what pulls the log-odds of all categories there."""

SCALES, BIASES = 10.0, 1.0
"""Pull on the logarithm of each category's scale, and on its bias, likewise."""

RELATED, MOST = 100.0, 500
"""Pulls the weight of one category's log-odds in another's towards zero; with more categories than ``MOST`` they do not
inform each other."""

SURE = 7.0
"""Log-odds of other labels count up to this."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class GivenCells:
    """Labels of n samples in C categories, and what became of them (see `labelwise.audit.wrong_labels.GivenLabels`).

    Parameters
    ----------
    values : (n, C) as they are now, 1, 0, or NaN where unknown
    first : (n, C) before any correction
    reviewed : (n, C) a person has looked: the label is right
    """

    values: Array
    first: Array
    reviewed: NDArray[np.bool_]

    @staticmethod
    def plain(values: Array) -> GivenCells:
        """Labels that nobody has corrected."""
        return GivenCells(values, values, np.zeros(values.shape, dtype=bool))

    def take(self, rows: NDArray[np.int64]) -> GivenCells:
        return GivenCells(self.values[rows], self.first[rows], self.reviewed[rows])


@dataclass(frozen=True)
class CellNoise:
    """``scale`` a, ``bias`` b, ``missed`` m and ``added`` f of the C categories, float64."""

    scale: NDArray[np.float64]
    bias: NDArray[np.float64]
    missed: NDArray[np.float64]
    added: NDArray[np.float64]

    def positive(self, logits: Array, given: GivenCells) -> NDArray[np.float64]:
        """Probability (n, C) that the right label is positive, the label that was first given known, if there was one;
        certain where a person has looked."""
        first = given.first
        z = self.scale * logits + self.bias
        of_positive = np.log1p(-self.missed) - np.log(self.added)
        of_negative = np.log(self.missed) - np.log1p(-self.added)
        z += np.where(np.isnan(first), 0, np.where(first >= 0.5, of_positive, of_negative))
        return np.where(given.reviewed, given.values, expit(z))


def fit_cell_noise(logits: Array, given: GivenCells) -> CellNoise:
    """The likeliest noise of the labels that were first given to n samples in C categories; ``logits`` (n, C) are
    out-of-sample answers."""
    z, y, known = _tensors(logits, given.first)
    may_be_positive, may_be_negative = (
        torch.from_numpy(~given.reviewed | (given.values == right)).double() for right in (1, 0)
    )
    c = z.shape[1]
    start = torch.logit(torch.tensor([START, START]).double())[:, None]
    common = {"scale": torch.zeros(1), "bias": torch.zeros(1), "rate": start.clone()}
    own = {"scale": torch.zeros(c), "bias": torch.zeros(c), "rate": torch.zeros(2, c)}
    common, own = ({name: one.double().requires_grad_() for name, one in part.items()} for part in (common, own))

    def parts() -> tuple[Tensor, Tensor, Tensor]:
        rate = torch.sigmoid(common["rate"] + own["rate"])
        return (common["scale"] + own["scale"]).exp(), common["bias"] + own["bias"], rate

    def loss() -> Tensor:
        scale, bias, (missed, added) = parts()
        p = torch.sigmoid(scale * z + bias)
        of_positive, of_negative = may_be_positive * p, may_be_negative * (1 - p)
        up = of_positive * (1 - missed) + of_negative * added
        down = of_positive * missed + of_negative * (1 - added)
        likelihood = (torch.where(y > 0.5, up, down).clamp(min=1e-9).log() * known).sum()
        prior = SPREAD * own["rate"].square().sum() + HELD * (common["rate"] - start).square().sum()
        prior = prior + BIASES * own["bias"].square().sum() + SCALES * own["scale"].square().sum()
        return (prior - likelihood) / known.sum()

    _minimise(loss, [*common.values(), *own.values()])
    with torch.no_grad():
        scale, bias, (missed, added) = parts()
    return CellNoise(scale.numpy(), bias.numpy(), missed.numpy(), added.numpy())


def with_related(logits: Array, given: GivenCells, fold: NDArray[np.int64]) -> Array:
    """Logits (n, C) that also know the labels of the sample in the other categories.

    The mean of the calibrated logits and of those of logistic regression of each label on its own logit and on the
    log-odds of all other categories, which know their given labels. Each fold (n,) is answered by regressions on the
    others.
    """
    if logits.shape[1] > MOST:
        return logits
    z, y, known = _tensors(logits, given.values)
    noise = fit_cell_noise(logits, given)
    p = torch.from_numpy(noise.positive(logits, given))
    others = torch.logit(p).clamp(-SURE, SURE)
    others = others - others.mean(0)
    out = ((noise.scale * logits + noise.bias) / 2).astype(np.float32)
    for number in range(int(fold.max()) + 1):
        unseen = fold == number
        seen = known * torch.from_numpy(~unseen)[:, None]
        out[unseen] += _related(z, others, y, seen, noise)[unseen] / 2
    return out


def _related(z: Tensor, others: Tensor, y: Tensor, seen: Tensor, noise: CellNoise) -> Array:
    """Logits (n, C) of regressions on the labels that are ``seen`` (n, C), all categories at once."""
    apart = 1 - torch.eye(z.shape[1]).double()
    weight = torch.zeros_like(apart).requires_grad_()
    scale, bias = (torch.from_numpy(start.copy()).requires_grad_() for start in (noise.scale, noise.bias))

    def answer() -> Tensor:
        return scale * z + bias + others @ (weight * apart)

    def loss() -> Tensor:
        found = answer()
        likelihood = ((y * found - torch.nn.functional.softplus(found)) * seen).sum()
        return (RELATED * weight.square().sum() - likelihood) / seen.sum()

    _minimise(loss, [weight, scale, bias])
    return answer().detach().float().numpy()


def _tensors(logits: Array, values: Array) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels (0 where unknown) and which are known, float64."""
    known = ~np.isnan(values)
    hard = np.nan_to_num(values) >= 0.5
    z, y, k = (torch.from_numpy(part.astype(np.float64)) for part in (logits, hard, known))
    return z, y, k


def _minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[arg-type]
