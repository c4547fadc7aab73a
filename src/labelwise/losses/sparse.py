"""Soft labels of which a few probabilities are known, and the cross-entropy against them without a dense target.

A label names m classes; R is the probability of the others. Let z be the student's logits. Spreading R evenly changes
CE(q, p) by at most R times the range of z over the classes that are not named, and leaving them out by at most R times
the range of all z: probability of the size R is moved, from classes of one logit to classes of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from labelwise.losses.soft import TINY

Rest = Literal["spread", "drop"]
"""What becomes of the probability of the classes that a label does not name. spread: each has the same part of it.
drop: none, and the named ones are made to sum to one."""


@dataclass(frozen=True)
class SparseTarget:
    """Soft labels q (B, K), whose rows sum to one.

    Parameters
    ----------
    ids : (B, m) int64 classes, no class twice; None: all K, in their order
    q : (B, m) float32 their probabilities
    others : (B,) the probability of each of the other classes
    there : (B, m) bool, entries that count, of which the others have q = 0; None: all
    """

    ids: Tensor | None
    q: Tensor
    others: Tensor
    there: Tensor | None = None

    def hard(self) -> SparseTarget:
        """One-hot at the likeliest class; the first of equals."""
        best = self.q.argmax(1, keepdim=True)
        ids = best if self.ids is None else self.ids.gather(1, best)
        return SparseTarget(ids, torch.ones_like(ids, dtype=torch.float32), torch.zeros_like(self.others))

    def halved(self) -> SparseTarget:
        """One half for each of the two likeliest classes, which must both be there."""
        best = self.q.topk(2, dim=1).indices
        ids = best if self.ids is None else self.ids.gather(1, best)
        return SparseTarget(ids, torch.full_like(ids, 0.5, dtype=torch.float32), torch.zeros_like(self.others))

    def mixed(self, partner: Tensor, share: Tensor) -> SparseTarget:
        """``share`` (B,) of each label and the rest of that of its ``partner`` (B,)."""
        own, other = share[:, None], 1 - share[:, None]
        others = share * self.others + (1 - share) * self.others[partner]
        if self.ids is None:
            return SparseTarget(None, own * self.q + other * self.q[partner], others)
        there = torch.ones_like(self.ids, dtype=torch.bool) if self.there is None else self.there
        same = (self.ids[:, :, None] == self.ids[partner][:, None, :]) & there[:, :, None] & there[partner][:, None, :]
        theirs = (same * self.q[partner][:, None, :]).sum(2)  # what the partner says of the own classes
        theirs = torch.where(same.any(2), theirs, self.others[partner][:, None])
        alone = there[partner] & ~same.any(1)  # its classes that are not the own ones
        q = torch.cat([own * self.q + other * theirs, own * self.others[:, None] + other * self.q[partner]], 1)
        both = torch.cat([there, alone], 1)
        return SparseTarget(torch.cat([self.ids, self.ids[partner]], 1), q * both, others, both)

    def cross_entropy(self, logits: Tensor, class_weight: Tensor | None = None) -> Tensor:
        """-sum_c q_c log p_c (B,) with p = softmax(logits), as :func:`labelwise.losses.soft_cross_entropy`.

        With log p_j of the m classes, and S the sum of all log p_c: -sum_j q_j log p_j - others (S - sum_j log p_j).
        """
        log_p = torch.log_softmax(logits.float(), dim=-1)
        if class_weight is not None:
            log_p = log_p * class_weight
        if self.ids is None:
            return -(self.q * log_p).sum(1)
        named = log_p.gather(1, self.ids)
        counted = named if self.there is None else named * self.there
        return -(self.q * named).sum(1) - self.others * (log_p.sum(1) - counted.sum(1))

    def entropy(self, classes: int) -> Tensor:
        """H(q) (B,) in nats of labels of K ``classes``."""
        named = -(self.q * self.q.clamp(min=TINY).log()).sum(1)
        if self.ids is None:
            return named
        count = self.q.shape[1] if self.there is None else self.there.sum(1)
        return named - (classes - count) * self.others * self.others.clamp(min=TINY).log()


def sparse_target(
    ids: Tensor | None, log_q: Tensor, classes: int, *, temperature: float = 1.0, rest: Rest = "spread"
) -> SparseTarget:
    """Labels of K ``classes`` out of the logarithms of some of their probabilities, as q^(1/T), made to sum to one.

    Parameters
    ----------
    ids : (B, m) int64; None: all classes in their order
    log_q : (B, m) float32, -inf where a label has fewer classes
    rest : what the other classes have

    Examples
    --------
    >>> target = sparse_target(torch.tensor([[2, 0]]), torch.tensor([[0.5, 0.3]]).log(), 4)
    >>> target.q, target.others
    (tensor([[0.5000, 0.3000]]), tensor([0.1000]))
    """
    q = log_q.float().exp()
    others = torch.zeros_like(q[:, 0])
    there = None
    if ids is not None:
        there = log_q > -torch.inf
        count = classes - there.sum(1)
        if rest == "spread":
            others = ((1 - q.sum(1)).clamp(min=0) / count.clamp(min=1)) ** (1 / temperature) * (count > 0)
    if temperature != 1:
        q = (log_q.float() / temperature).exp()
    total = q.sum(1) + (0 if ids is None else others * count)
    return SparseTarget(ids, q / total[:, None], others / total, there)
