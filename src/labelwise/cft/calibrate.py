"""From ranks to probabilities: scale and bias of every category's logit.

AP and AUC do not depend on either, and a head that was trained with unknown labels as negatives has a wrong bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

PRIOR = 1.0
"""Precision of the priors on log scale and on bias; about one labelled sample outweighs them."""

_NEWTON_STEPS = 30
_SETTLED = 1e-12
"""Predicted decrease of a Newton step, relative to the objective, below which a category is done."""


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

    The scale is always positive, so ranks never change. Solved by damped Newton steps in float64.

    Parameters
    ----------
    logits : (C, n), at the scale that the prior expects
    label, weight : (C, n) labels in [0, 1]; weight 0 where unknown
    bias : (C,), the bias that the prior expects

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
        # The predicted decrease of a full step. Where it is rounding alone, the step is not checked and is the last.
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
