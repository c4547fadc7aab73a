"""Losses of one sigmoid per label, on soft targets of which some are unknown. Pure functions over tensors of any shape.

Each is y L+ + (1 - y) L-, the terms of a positive and of a negative label, so that a target between 0 and 1 is their
convex combination. Where the target is NaN (unknown), loss and gradient are exactly 0. All logarithms are taken from
logits: value and gradient stay finite without clipping, at |logit| = 1e4 too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from labelwise.config import BinaryLossName, check_choice
from labelwise.errors import ConfigError

BinaryLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Loss per label of logits, targets and weights: ``loss(logits, target, weight)``, float32."""


def binary_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """-[y log p + (1 - y) log(1 - p)] with p = sigmoid(logits), per label.

    Parameters
    ----------
    logits : (...)
    target : (...) in [0, 1]; NaN where unknown: loss and gradient are exactly 0 there
    weight : broadcastable to target, optional

    Returns
    -------
    (...) float32

    Examples
    --------
    >>> binary_cross_entropy(torch.tensor([0.0, 0.0, 9.0]), torch.tensor([1.0, 0.0, torch.nan]))  # NaN: unknown
    tensor([0.6931, 0.6931, 0.0000])
    """
    known, x, y = _known(logits, target)
    loss = functional.binary_cross_entropy_with_logits(x, y, reduction="none")
    return _weighted(loss, known, weight)


def focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, *, gamma: float = 2.0, margin: float = 0.0
) -> Tensor:
    """-[y (1 - p_m)^g log p_m + (1 - y) p^g log(1 - p)] with p = sigmoid(x), p_m = sigmoid(x - margin), per label.

    Focal loss (Lin et al. 2017, arXiv 1708.02002, equation 4: without its alpha); with a margin, the focal margin loss
    of Zhang et al. 2021 (arXiv 2112.07368), which asks more of positives. The factors take part in the gradient.

    Parameters
    ----------
    logits, target, weight : as in :func:`binary_cross_entropy`
    gamma : focusing power, at least 0; with 0 and no margin this is cross-entropy
    margin : subtracted from the logits of positives

    Returns
    -------
    (...) float32
    """
    known, x, y = _known(logits, target)
    return _weighted(y * _focal(x - margin, gamma) + (1 - y) * _focal(-x, gamma), known, weight)


def hill_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    curve: float = 1.5,
    gamma: float = 2.0,
    margin: float = 1.0,
) -> Tensor:
    """-y (1 - p_m)^g log p_m + (1 - y) (curve - p) p^2 with p = sigmoid(x), p_m = sigmoid(x - margin), per label.

    Hill loss (Zhang et al. 2021, arXiv 2112.07368). The pull on a negative falls again where the network is sure that
    it is a positive: its slope is p^2 (1 - p) (2 curve - 3 p), with ``curve`` 1.5 thus 3 p^2 (1 - p)^2, a hill over p.
    Positives have the focal margin term.

    Parameters
    ----------
    logits, target, weight : as in :func:`binary_cross_entropy`
    curve : lambda of the paper; at least 1.5, lest the loss of a negative falls as p rises
    gamma, margin : as in :func:`focal_loss`

    Returns
    -------
    (...) float32
    """
    known, x, y = _known(logits, target)
    p = torch.sigmoid(x)
    return _weighted(y * _focal(x - margin, gamma) + (1 - y) * (curve - p) * p**2, known, weight)


def asymmetric_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 0.0,
    margin: float = 0.05,
) -> Tensor:
    """-[y (1 - p)^g+ log p + (1 - y) (1 - q)^g- log q] with p = sigmoid(logits), q = min(1 - p + margin, 1), per label.

    Asymmetric loss (Ridnik et al. 2021, arXiv 2009.14119): negatives that are easy (p below the margin) cost nothing,
    and hard ones count most. As in the released code of category-wise fine-tuning (arXiv 2401.16991) the focusing
    factors are constants to the gradient. Both logarithms are taken from logits and stay finite without clipping.

    Parameters
    ----------
    logits : (...)
    target : (...) in [0, 1]; NaN where unknown: loss and gradient are exactly 0 there
    weight : broadcastable to target, optional
    gamma_negative, gamma_positive : focusing powers, at least 0; with both 0 and margin 0 this is cross-entropy
    margin : in [0, 1)

    Returns
    -------
    (...) float32

    Examples
    --------
    >>> logits = torch.tensor([-4.0, 4.0])  # an easy negative and a hard one
    >>> [round(value, 3) for value in asymmetric_loss(logits, torch.zeros(2)).abs().tolist()]
    [0.0, 2.029]
    """
    known, x, y = _known(logits, target)
    log_q = functional.logsigmoid(-x)
    if margin > 0:
        log_q = torch.logaddexp(log_q, log_q.new_tensor(math.log(margin))).clamp(max=0)
    with torch.no_grad():
        focus_positive = torch.sigmoid(-x) ** gamma_positive
        focus_negative = (torch.sigmoid(x) - margin).clamp(min=0) ** gamma_negative
    loss = -(y * focus_positive * functional.logsigmoid(x) + (1 - y) * focus_negative * log_q)
    return _weighted(loss, known, weight)


def make_loss(
    name: BinaryLossName,
    *,
    gamma: float = 2.0,
    gamma_negative: float = 4.0,
    gamma_positive: float = 0.0,
    margin: float = 0.05,
) -> BinaryLoss:
    """A loss by name, its options bound.

    Parameters
    ----------
    name : ``bce``; ``focal`` and ``hill``, which look at ``gamma``; or ``asl``, which looks at the other options

    Raises
    ------
    ConfigError
        For another name, a negative power, or a margin outside [0, 1).
    """
    check_choice("loss", name, BinaryLossName)
    if min(gamma, gamma_negative, gamma_positive) < 0:
        raise ConfigError(
            f"loss {name}: focusing powers must be at least 0, got gamma {gamma:g}, "
            f"gamma_negative {gamma_negative:g}, gamma_positive {gamma_positive:g}"
        )
    if not 0 <= margin < 1:
        raise ConfigError(f"loss {name}: margin must be in [0, 1), got {margin:g}")
    match name:
        case "bce":
            return binary_cross_entropy
        case "focal":
            return partial(focal_loss, gamma=gamma)
        case "hill":
            return partial(hill_loss, gamma=gamma)
        case "asl":
            return partial(asymmetric_loss, gamma_negative=gamma_negative, gamma_positive=gamma_positive, margin=margin)


def _focal(x: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p with p = sigmoid(x). As a logarithm the power has a finite slope for any gamma."""
    return -torch.exp(gamma * functional.logsigmoid(-x)) * functional.logsigmoid(x)


def _known(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the target is known; logits and target in float32, 0 elsewhere: 0 times an infinite slope is not 0."""
    known = ~torch.isnan(target)
    return known, torch.where(known, logits, 0).float(), torch.where(known, target, 0).float()


def _weighted(loss: Tensor, known: Tensor, weight: Tensor | None) -> Tensor:
    """The loss where known and 0 elsewhere: selected, since 0 times an infinite value is not 0."""
    if weight is not None:
        loss = loss * weight
    return torch.where(known, loss, 0.0)
