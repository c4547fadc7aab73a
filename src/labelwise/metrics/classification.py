"""Scores of a single-label classifier from its logits. Pure functions on CPU tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.errors import DataError
from labelwise.metrics.calibration import expected_calibration_error


def topk_correct(logits: Tensor, label: Tensor, k: int) -> Tensor:
    """Whether the label is among the k largest logits, (N,) bool.

    Ties count against the label (a constant output is never right by luck); NaN logits are never right.
    """
    own = logits.gather(1, label[:, None])
    not_below = (logits >= own).sum(1)
    return (not_below <= k) & torch.isfinite(own[:, 0]) & ~torch.isnan(logits).any(1)


def scores(logits: Tensor, label: Tensor, classes: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Top-1, top-5 (where there are more than five classes), NLL in nats, ECE, and optionally the table per class.

    Parameters
    ----------
    logits : (N, K) float32
    label : (N,) int64
    classes : names; when given, ``per_class`` is added with the number of samples and top-1 of each class

    Returns
    -------
    fractions in [0, 1]; an empty input gives NaN

    Examples
    --------
    >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
    >>> found = scores(logits, torch.tensor([0, 1, 2]))
    >>> round(found["top1"], 3), round(found["nll"], 3)
    (0.667, 0.906)
    """
    if len(label) == 0:
        return {"top1": float("nan"), "nll": float("nan"), "ece": float("nan")}
    logits = logits.float()
    correct = topk_correct(logits, label, 1)
    out: dict[str, Any] = {"top1": correct.float().mean().item()}
    if logits.shape[1] > 5:
        out["top5"] = topk_correct(logits, label, 5).float().mean().item()
    out["nll"] = torch.nn.functional.cross_entropy(logits, label).item()
    confidence = torch.softmax(logits, 1).amax(1)
    out["ece"] = expected_calibration_error(confidence.numpy(), correct.numpy())
    if classes is not None:
        out["per_class"] = per_class(correct.numpy(), label.numpy(), classes)
    return out


def human_scores(logits: Tensor, votes: NDArray[np.floating]) -> dict[str, float]:
    """How far the softmax is from what people said, as means over the samples that have votes, in nats.

    ``human_ce`` = -sum_k h_k log q_k, the cross-entropy of Peterson et al., "Human uncertainty makes classification
    more robust" (2019), for shares h and softmax q; ``human_kl`` = sum_k h_k log(h_k / q_k), which is ``human_ce`` less
    the entropy of the votes, and 0 where q is h.

    Parameters
    ----------
    logits : (N, K)
    votes : (N, K) shares of the votes, each row with a sum of 1, or NaN throughout where nobody voted

    Returns
    -------
    nothing where no sample has votes

    Raises
    ------
    DataError
        If the shapes differ.
    """
    if tuple(logits.shape) != votes.shape:
        raise DataError(f"votes {votes.shape} and logits {tuple(logits.shape)} must have one shape (N, K)")
    voted = ~np.isnan(votes).any(axis=1)
    if not voted.any():
        return {}
    share = torch.from_numpy(votes[voted]).double()
    cross_entropy = -(share * torch.log_softmax(logits[torch.from_numpy(voted)].double(), 1)).sum(1)
    entropy = -torch.xlogy(share, share).sum(1)
    return {"human_ce": cross_entropy.mean().item(), "human_kl": (cross_entropy - entropy).mean().item()}


def per_class(correct: NDArray[np.bool_], label: NDArray[np.int64], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Number of samples and top-1 of every class; NaN for a class without samples."""
    count = np.bincount(label, minlength=len(classes))
    right = np.bincount(label, weights=correct, minlength=len(classes))
    share = np.divide(right, count, out=np.full(len(classes), np.nan), where=count > 0)
    return [{"class": name, "n": int(n), "top1": float(s)} for name, n, s in zip(classes, count, share, strict=True)]
