"""Losses on soft targets, in float32 and finite at any logit. Pure functions, batched over leading dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def soft_cross_entropy(logits: Tensor, target: Tensor, class_weight: Tensor | None = None) -> Tensor:
    """CE(q, p) = -sum_c q_c log p_c with p = softmax(logits), per sample.

    The only trained loss of Label Refinery (arXiv 1805.02641, equation for KL(q || p) without the constant -H(q)):
    with a one-hot ``target`` it is ordinary cross-entropy.

    Parameters
    ----------
    logits : (..., K)
    target : (..., K), rows sum to one
    class_weight : (K,), optional; weights the terms of the sum

    Returns
    -------
    (...) float32
    """
    log_p = torch.log_softmax(logits.float(), dim=-1)
    target = target.float()
    if class_weight is not None:
        target = target * class_weight
    return -(target * log_p).sum(-1)


def entropy(target: Tensor) -> Tensor:
    """H(q) = -sum_c q_c log q_c in nats, per sample; 0 log 0 is 0. ``target`` (..., K) to (...) float32."""
    return torch.special.entr(target.float()).sum(-1)


def kl_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(q || p) = CE(q, p) - H(q) in nats, per sample: the refinery first, the student second (arXiv 1805.02641)."""
    return soft_cross_entropy(logits, target) - entropy(target)


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
    """
    known, y = _known(target)
    loss = functional.binary_cross_entropy_with_logits(logits.float(), y, reduction="none")
    return _weighted(loss, known, weight)


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
    """
    known, y = _known(target)
    x = logits.float()
    log_q = functional.logsigmoid(-x)
    if margin > 0:
        log_q = torch.logaddexp(log_q, log_q.new_tensor(math.log(margin))).clamp(max=0)
    with torch.no_grad():
        focus_positive = torch.sigmoid(-x) ** gamma_positive
        focus_negative = (torch.sigmoid(x) - margin).clamp(min=0) ** gamma_negative
    loss = -(y * focus_positive * functional.logsigmoid(x) + (1 - y) * focus_negative * log_q)
    return _weighted(loss, known, weight)


def _known(target: Tensor) -> tuple[Tensor, Tensor]:
    """Where the target is known, and the target in float32 with 0 elsewhere."""
    known = ~torch.isnan(target)
    return known, torch.where(known, target, 0).float()


def _weighted(loss: Tensor, known: Tensor, weight: Tensor | None) -> Tensor:
    """The loss where known and 0 elsewhere: selected, since 0 times an infinite value is not 0."""
    if weight is not None:
        loss = loss * weight
    return torch.where(known, loss, 0.0)
