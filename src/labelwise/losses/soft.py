"""Losses of one softmax over classes on soft targets. Pure functions, batched over leading dimensions.

Arguments are (logits of the student, target), results per sample (...) float32; q is the target, p = softmax(logits).
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = torch.finfo(torch.float32).tiny
FLOOR = 1e-8
"""The least probability of a target that is put through a logarithm in front of which the student stands."""


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

    Examples
    --------
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> soft_cross_entropy(logits, torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    tensor([0.1269, 0.6931])
    """
    log_p = torch.log_softmax(logits.float(), dim=-1)
    target = target.float()
    if class_weight is not None:
        target = target * class_weight
    return -(target * log_p).sum(-1)


def entropy(target: Tensor) -> Tensor:
    """H(q) = -sum_c q_c log q_c in nats, per sample; 0 log 0 is 0. ``target`` (..., K) to (...) float32.

    Its gradient is finite at q_c = 0, too, unlike that of ``torch.special.entr``.
    """
    target = target.float()
    return -(target * target.clamp(min=TINY).log()).sum(-1)


def kl_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(q || p) = CE(q, p) - H(q) in nats, per sample: the refinery first, the student second (arXiv 1805.02641).

    Examples
    --------
    >>> target = torch.tensor([[0.7, 0.3]])
    >>> kl_divergence(target, target.log()).abs().item() < 1e-6  # 0 where both agree
    True
    """
    return soft_cross_entropy(logits, target) - entropy(target)


def reverse_kl(logits: Tensor, target: Tensor) -> Tensor:
    """KL(p || q) = sum_c p_c (log p_c - log q_c) in nats, q_c at least 1e-8, since a one-hot q would make it infinite.

    It forgives a student that leaves out what the target thinks possible; KL(q || p) does not.
    """
    log_p = torch.log_softmax(logits.float(), dim=-1)
    return (log_p.exp() * (log_p - target.float().clamp(min=FLOOR).log())).sum(-1)


def symmetric_kl(logits: Tensor, target: Tensor) -> Tensor:
    """(KL(q || p) + KL(p || q)) / 2 in nats."""
    return (kl_divergence(target, logits) + reverse_kl(logits, target)) / 2


def squared_error(logits: Tensor, target: Tensor) -> Tensor:
    """sum_c (p_c - q_c)^2, between 0 and 2; the Brier score of p where q is one-hot."""
    return (torch.softmax(logits.float(), dim=-1) - target.float()).square().sum(-1)


def logit_squared_error(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over classes of (z_c - log q_c)^2, both less their mean over classes, which no softmax sees.

    q_c is at least 1e-8.

    Regression of logits (Ba and Caruana 2014, "Do deep nets really need to be deep?").
    """
    log_q = target.float().clamp(min=FLOOR).log()
    z = logits.float()
    difference = (z - z.mean(-1, keepdim=True)) - (log_q - log_q.mean(-1, keepdim=True))
    return difference.square().mean(-1)


def tempered(probability: Tensor, temperature: float) -> Tensor:
    """q^(1/T), made to sum to one: softmax(z / T) of probabilities q = softmax(z) (..., K)."""
    if temperature == 1:
        return probability
    return torch.softmax(probability.float().clamp(min=TINY).log() / temperature, dim=-1)


def distillation(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """T^2 KL(q || softmax(z / T)), where q is at temperature T already (Hinton et al. 2015, arXiv 1503.02531).

    The square keeps the gradient's size about the same at every T.
    """
    return temperature**2 * kl_divergence(target, logits.float() / temperature)
