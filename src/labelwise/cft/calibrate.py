"""From ranks to probabilities and decisions: scale and bias of every category's logit, thresholds.

Rank objectives leave both free, and a wrong bias is the usual state of a head trained with unknown labels as negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.errors import ConfigError

PRIOR = 1.0
"""Precision of the priors on log scale and on bias: about one labelled sample against them."""

_NEWTON_STEPS = 30
_SETTLED = 1e-12
"""Decrease that a Newton step promises, relative to the objective, at which a category is done."""


def known_entries(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and weights (C, m) of the known entries alone, padded to the category that knows most.

    Parameters
    ----------
    logits, labels : (C, n), labels NaN where unknown
    """
    known = ~torch.isnan(labels)
    most = max(1, int(known.sum(1).max()))
    if most < labels.shape[1]:
        first = (~known).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
        logits, labels, known = logits.gather(1, first), labels.gather(1, first), known.gather(1, first)
    return logits, torch.nan_to_num(labels), known.float()


def scale_and_bias(logits: Tensor, label: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Platt scaling with a prior: p = sigmoid(exp(t) z + b), t ~ N(0, 1), b ~ N(bias, 1), for every category.

    The scale is positive whatever the labels say, so ranks never change. Damped Newton; everything in float64.

    Parameters
    ----------
    logits : (C, n) at the scale that is right if nothing else is known
    label, weight : (C, n) labels in [0, 1]; weight 0 where unknown
    bias : (C,) to be added if nothing else is known

    Returns
    -------
    (C,) factors and (C,) biases
    """
    z, y, w = logits.double(), label.double(), weight.double()
    prior = bias.double()
    # Work with the bias at the centre of the logits, where it is nearly uncorrelated with the scale.
    centre = (w * z).sum(1) / w.sum(1).clamp_min(1e-12)
    z = z - centre[:, None]
    home = prior + centre
    t, b = torch.zeros_like(home), home.clone()

    def objective(t: Tensor, b: Tensor) -> Tensor:
        x = t.exp()[:, None] * z + b[:, None]
        loss = torch.nn.functional.softplus(x) - y * x
        return (w * loss).sum(1) + 0.5 * PRIOR * (t**2 + (b - home) ** 2)

    value = objective(t, b)
    for _ in range(_NEWTON_STEPS):
        slope = t.exp()[:, None] * z
        p = torch.sigmoid(slope + b[:, None])
        residual, curve = w * (p - y), w * p * (1 - p)
        g_t, g_b = (residual * slope).sum(1) + PRIOR * t, residual.sum(1) + PRIOR * (b - home)
        # Gauss-Newton in t: positive definite, unlike the exact second derivative.
        h_tt, h_tb = (curve * slope**2).sum(1) + PRIOR, (curve * slope).sum(1)
        h_bb = curve.sum(1) + PRIOR
        determinant = h_tt * h_bb - h_tb**2
        d_t, d_b = (h_bb * g_t - h_tb * g_b) / determinant, (h_tt * g_b - h_tb * g_t) / determinant
        # What a full step promises. Where that is down to rounding, the step is taken unseen: it is the last.
        settled = g_t * d_t + g_b * d_b <= _SETTLED * (1 + value.abs())
        length = torch.ones_like(t)
        for _ in range(20):
            new_t, new_b = (t - length * d_t).clamp(-10, 10), b - length * d_b
            new_value = objective(new_t, new_b)
            if not bool((worse := (new_value > value) & ~settled).any()):
                break
            length = torch.where(worse, length * 0.5, length)
        keep = settled | (new_value <= value)
        t, b = torch.where(keep, new_t, t), torch.where(keep, new_b, b)
        value = torch.where(keep, new_value, value)
        if bool(settled.all()):
            break
    scale = t.exp()
    return scale, b - scale * centre


@dataclass(frozen=True)
class ThresholdRule:
    """``max-f1``, or the loosest threshold with ``precision`` / ``recall`` / ``specificity`` of at least ``target``."""

    kind: str
    target: float = 0.0

    def __str__(self) -> str:
        return self.kind if self.kind == "max-f1" else f"{self.kind}>={self.target:g}"


def parse_rule(text: str) -> ThresholdRule:
    """``max-f1``, ``precision=0.9``, ``recall=0.95`` or ``specificity=0.9``.

    Raises
    ------
    ConfigError
    """
    kind, _, number = text.partition("=")
    if text == "max-f1":
        return ThresholdRule(text)
    try:
        target = float(number)
    except ValueError:
        target = -1.0
    if kind not in ("precision", "recall", "specificity") or not 0 < target <= 1:
        raise ConfigError(f"--threshold {text}: use max-f1, precision=X, recall=X or specificity=X with X in (0, 1]")
    return ThresholdRule(kind, target)


def find_threshold(
    logits: NDArray[np.floating], label: NDArray[np.floating], rule: ThresholdRule
) -> dict[str, float] | None:
    """The threshold of one category: decide positive where the logit is at least ``value``.

    Parameters
    ----------
    logits, label : (n,) over samples with known labels 0 or 1

    Returns
    -------
    ``value`` and what it gives (``precision``, ``recall``, ``specificity``, ``f1``, ``positives``); None where no
    threshold reaches the target, or there is no positive or no negative
    """
    positive = label > 0.5
    count, negatives = int(positive.sum()), int((~positive).sum())
    if not count or not negatives:
        return None
    order = np.argsort(-logits, kind="stable")
    values, hits = logits[order], positive[order]
    last = np.flatnonzero(np.r_[values[1:] != values[:-1], True])  # thresholds lie between distinct scores only
    true = np.cumsum(hits)[last].astype(np.float64)
    taken = (last + 1).astype(np.float64)
    precision, recall = true / taken, true / count
    specificity = (negatives - (taken - true)) / negatives
    f1 = 2 * true / (taken + count)
    if rule.kind == "max-f1":
        choice = int(np.argmax(f1))
    else:
        reached = {"precision": precision, "recall": recall, "specificity": specificity}[rule.kind] >= rule.target
        if not reached.any():
            return None
        # Recall: the strictest threshold that reaches it. Precision and specificity: the one that finds most.
        choice = int(np.argmax(reached)) if rule.kind == "recall" else int(np.flatnonzero(reached)[-1])
    at = choice
    lowest = values[last[at]]
    below = values[last[at] + 1] if last[at] + 1 < len(values) else lowest - values.dtype.type(1)
    # Half way to the next score: the same decisions here, and less sensitive to where exactly a score fell. In the
    # scores' own precision there may be nothing in between.
    middle = lowest.dtype.type(0.5 * float(lowest) + 0.5 * float(below))
    value = float(middle) if below < middle <= lowest and np.isfinite(below) else float(lowest)
    return {
        "value": value,
        "precision": float(precision[at]),
        "recall": float(recall[at]),
        "specificity": float(specificity[at]),
        "f1": float(f1[at]),
        "positives": count,
    }
