"""A first head for features that come without one: every category's logistic regression, at one common strength."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from labelwise.cft.candidate_heads import Objective
from labelwise.cft.solvers.blocks import blocks
from labelwise.cft.solvers.coordinates import principal_coordinates
from labelwise.cft.solvers.inputs import Split, linear_logits
from labelwise.cft.solvers.logistic import fit_logistic, grid
from labelwise.errors import DataError
from labelwise.metrics.ranking import ranking

Base = Literal["assume-negative", "ignore"]
STRENGTHS = grid((0.25, 1.0, 4.0, 16.0, 64.0, 256.0), rank=(2048,))
"""Prior variances tried; one for all categories, as one network has one weight decay."""

STEPS = 60


def fit_base(
    fit: Split, select: Split, kind: Base, objective: Objective, *, budget: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Heads (C, D) and biases (C,) on ``fit``, their common strength chosen on ``select``.

    Parameters
    ----------
    kind : ``assume-negative`` trains on unknown labels as negatives, as most multi-label training does; ``ignore``
        leaves them out
    budget : float32 values that the working arrays may hold

    Raises
    ------
    DataError
        If no category can be scored on ``select``.
    """
    labels, label_weight = fit.labels, fit.weight
    if kind == "assume-negative":
        if label_weight is not None:
            # What a file says an unknown label weighs, often 0, is not about the negative that is assumed.
            label_weight = torch.where(torch.isnan(labels), 1.0, label_weight)
        labels = torch.nan_to_num(labels)
    coordinates = principal_coordinates(fit.features, max(c.rank for c in STRENGTHS), seed=seed, device=labels.device)
    x = coordinates.transform(fit.features)
    total, columns = labels.shape[1], len(STRENGTHS)
    weight = torch.zeros(total, coordinates.rank, columns, device=labels.device)
    bias = torch.zeros(total, columns, device=labels.device)
    everything = torch.arange(total, device=labels.device)
    for block in blocks(x, labels, label_weight, everything, columns, budget):
        heads = fit_logistic(block, STRENGTHS, coordinates, max_steps=STEPS)
        weight[block.categories], bias[block.categories] = heads.weight, heads.bias
    on_features, feature_bias = coordinates.to_features(weight.transpose(1, 2), bias)  # (C, L, D), (C, L)
    means = []
    for column in range(columns):
        logits = linear_logits(select.features, on_features[:, column], feature_bias[:, column])
        found = ranking(logits.T.contiguous(), select.labels.T.contiguous())
        means.append(found.of(objective).nanmean())
    score = torch.stack(means)
    if bool(torch.isnan(score).all()):
        raise DataError("select: no category has both a known positive and a known negative, so nothing can be chosen")
    best = int(score.argmax())
    return on_features[:, best].contiguous(), feature_bias[:, best].contiguous()
