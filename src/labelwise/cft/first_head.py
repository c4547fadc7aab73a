"""A first head for features that come without one: a logistic regression per category, all of one strength."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from labelwise.cft.solvers.coordinates import linear_logits, principal_coordinates
from labelwise.cft.solvers.inputs import SolverInput
from labelwise.cft.solvers.logistic import fit_candidates, make_grid
from labelwise.cft.solvers.robust import prepare
from labelwise.config import BaseHead
from labelwise.errors import DataError
from labelwise.metrics.ranking import ranking

STRENGTHS = make_grid((0.25, 1.0, 4.0, 16.0, 64.0, 256.0), rank=(2048,))
"""Prior variances tried; one for all categories, as one network has one weight decay."""

STEPS = 60


def fit_first_head(inputs: SolverInput, base: BaseHead) -> tuple[Tensor, Tensor]:
    """Fit heads on ``fit``, and choose their common strength on ``select``.

    Parameters
    ----------
    inputs : its weight and bias are not looked at, only their shapes
    base : ``assume-negative`` trains on unknown labels as negatives, as most multi-label training does; ``ignore``
        leaves them out

    Returns
    -------
    weight (C, D) and bias (C,) float32

    Raises
    ------
    DataError
        If no category can be scored on ``select``.
    """
    prepared = prepare(inputs)
    inputs = prepared.inputs
    fit = inputs.fit
    if base == "assume-negative":
        weight = fit.weight
        if weight is not None:
            # What a file says an unknown label weighs, often 0, is not about the negative that is assumed.
            weight = torch.where(torch.isnan(fit.labels), 1.0, weight)
        fit = replace(fit, labels=torch.nan_to_num(fit.labels), weight=weight)
    rank = max(point.rank for point in STRENGTHS)
    coordinates = principal_coordinates(fit.features, rank, seed=inputs.seed, device=inputs.device)
    everything = torch.arange(len(inputs.bias), device=inputs.device)
    heads = fit_candidates(replace(inputs, fit=fit), STRENGTHS, coordinates, everything, STEPS)
    weights, biases = coordinates.to_features(heads.weight.transpose(1, 2), heads.bias)  # (C, L, D), (C, L)
    means = []
    for column in range(len(STRENGTHS)):
        logits = linear_logits(inputs.select.features, weights[:, column], biases[:, column])
        found = ranking(logits.T.contiguous(), inputs.select.labels.T.contiguous())
        means.append(found.of(inputs.objective).nanmean())
    score = torch.stack(means)
    if bool(torch.isnan(score).all()):
        raise DataError("select: no category has both a known positive and a known negative, so nothing can be chosen")
    best = int(score.argmax())
    return prepared.to_features(weights[:, best].contiguous(), biases[:, best].contiguous())
