"""Published rules for labels that nobody gave: which to believe, to drop or to flip. Pure functions.

All take tensors (B, C) of B samples and C categories, keep nothing between calls, pass no gradient, and wait for no
result of the device. A "batch" is what one call sees: of a batch cut into parts, every part chooses for itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from labelwise.errors import ConfigError, DataError


def largest(loss: Tensor, assumed: Tensor, count: int) -> Tensor:
    """The ``count`` entries of largest loss among the assumed ones (Large Loss, Kim et al. 2022, arXiv 2206.03740).

    Parameters
    ----------
    loss : (B, C), without NaN
    assumed : (B, C) bool, entries whose label was assumed
    count : at most so many; all assumed ones where they are fewer

    Returns
    -------
    (B, C) bool. Of equal losses the first by row, then by column, are taken, so the count is kept to exactly.
    """
    values = loss.detach().masked_fill(~assumed, -torch.inf).flatten()
    count = min(count, values.numel())
    if count <= 0:
        return torch.zeros_like(assumed)
    least = values.topk(count, sorted=False).values.min()
    above, level = values > least, values == least
    chosen = above | (level & (level.cumsum(0) <= count - above.sum()))
    return chosen.view_as(assumed) & assumed


def selective_ignore(logits: Tensor, unknown: Tensor, prior: Tensor, *, top: int, prior_threshold: float) -> Tensor:
    """Unknown labels that are ignored rather than taken for negative (CSL, Ben-Baruch et al. 2022, arXiv 2110.10955).

    Ignored are those of categories whose prior is above the threshold, and the ``top`` x B most likely unknown ones of
    the batch, whatever their category.

    Parameters
    ----------
    logits : (B, C)
    unknown : (B, C) bool
    prior : (C,) estimated frequency of each category: the mean prediction of a network trained on known labels alone

    Returns
    -------
    (B, C) bool, within ``unknown``

    Raises
    ------
    DataError
        If the prior is not one number a category.
    """
    if prior.shape != logits.shape[-1:]:
        raise DataError(f"prior: {logits.shape[-1]} categories need as many numbers, found shape {tuple(prior.shape)}")
    likely = largest(logits, unknown, top * len(logits))
    return likely | (unknown & (prior.to(logits.device) > prior_threshold))


def splc_targets(logits: Tensor, target: Tensor, assumed: Tensor, threshold: float) -> Tensor:
    """Targets where assumed labels with p = sigmoid(logits) above ``threshold`` are positive.

    Self-paced loss correction (SPLC, Zhang et al. 2021, arXiv 2112.07368).

    Parameters
    ----------
    logits : (B, C)
    target : (B, C)
    assumed : (B, C) bool, entries whose label was assumed

    Returns
    -------
    (B, C) of the target's dtype
    """
    return torch.where(assumed & (torch.sigmoid(logits.detach().float()) > threshold), 1.0, target)


def most_confident(
    logits: Tensor, unknown: Tensor, share: float, *, per_category: bool, positive_only: bool = False
) -> Tensor:
    """Hard pseudo-labels of the given share of unknown entries: those of largest absolute logit, by its sign.

    Curriculum labelling (Durand et al. 2019, arXiv 1902.09720), by proportion: the share grows from round to round. Of
    equal logits the first by row (then by column) are taken.

    Parameters
    ----------
    logits : (N, C), usually of all samples
    unknown : (N, C) bool
    share : in [0, 1], of the unknown entries (with ``positive_only``, of those with a positive logit); rounded up
    per_category : take the share of every category, or overall

    Returns
    -------
    (N, C) float32 of 0 and 1; NaN elsewhere

    Raises
    ------
    ConfigError
        For a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"pseudo-labels: share must be in [0, 1], got {share:g}")
    candidates = unknown & (logits > 0) if positive_only else unknown
    # A column each competition; what does not compete is -1, below any size.
    size = torch.where(candidates, logits.detach().abs(), -1.0)
    size = size if per_category else size.reshape(-1, 1)
    order = size.argsort(dim=0, descending=True, stable=True)
    places = torch.arange(len(size), device=size.device)[:, None].expand_as(order)
    rank = torch.empty_like(order).scatter_(0, order, places)
    quota = torch.ceil(share * (size >= 0).sum(0).double() - 1e-9)
    chosen = (rank < quota).view_as(candidates) & candidates
    return torch.where(chosen, (logits > 0).float(), torch.nan)


def on_one_side(answers: Tensor, low: float, high: float) -> Tensor:
    """Where all answers to a label are at or below ``low``, or all above ``high``: (V, B, C) to (B, C) bool.

    Not where an answer is NaN.
    """
    return (answers <= low).all(0) | (answers > high).all(0)


def closeness(answers: Tensor) -> Tensor:
    """1 less the range of the answers to a label, probabilities (V, B, C) to (B, C) in [0, 1]."""
    return 1 - (answers.amax(0) - answers.amin(0))


def boost_positive(cam: Tensor, alpha: float) -> Tensor:
    """max(x, alpha x): class-activation scores with the positive ones times ``alpha`` (BoostLU, arXiv 2304.01804).

    Kim et al. 2023: training on assumed negatives weakens the attributions of a category, which this makes up for.

    Parameters
    ----------
    cam : (...)
    alpha : at least 1; 5 in the paper

    Raises
    ------
    ConfigError
        For an alpha below 1.
    """
    if not (1 <= alpha < math.inf):
        raise ConfigError(f"boost: alpha must be at least 1, got {alpha:g}")
    return torch.where(cam > 0, alpha * cam, cam)


def boosted_logits(features: Tensor, weight: Tensor, bias: Tensor | None, alpha: float) -> Tensor:
    """The mean over positions of boosted class-activation scores; with alpha 1 those of an ordinary pooled linear head.

    The bias belongs to every position's score: it is added before the boost.

    Parameters
    ----------
    features : (B, D, H, W), the last feature map
    weight : (C, D)
    bias : (C,), or None
    alpha : as in :func:`boost_positive`

    Returns
    -------
    (B, C)
    """
    cam = torch.nn.functional.conv2d(features, weight[:, :, None, None], bias)
    return boost_positive(cam, alpha).mean((2, 3))
