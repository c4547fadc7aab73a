"""Losses of one softmax over classes on soft targets. Pure functions, batched over leading dimensions."""

from __future__ import annotations

import torch
from torch import Tensor


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
