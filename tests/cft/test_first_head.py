"""The first head: scikit-learn's, at the common strength that is best on select, with unknowns as they were meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.cft.first_head import STRENGTHS, fit_first_head
from labelwise.cft.solvers.coordinates import linear_logits, principal_coordinates
from labelwise.cft.solvers.inputs import SolverInput, Split
from labelwise.cft.solvers.logistic import prior_deviation
from labelwise.config import Metric
from labelwise.errors import DataError

BUDGET = 10**7
Toy = Callable[..., Any]


def split(side: tuple[Any, Any], weight: Any = None) -> Split:
    weights = None if weight is None else torch.from_numpy(weight.astype(np.float32))
    return Split(side[0], torch.from_numpy(side[1]), weights)


def first_head(fit: Split, select: Split, base: Any, objective: Metric, budget: int = BUDGET) -> Any:
    shape = fit.labels.shape[1], fit.features.shape[-1]
    return fit_first_head(
        SolverInput(fit, select, torch.zeros(shape), torch.zeros(shape[0]), 0, objective, budget), base
    )


@pytest.mark.parametrize("kind", ["assume-negative", "ignore"])
@pytest.mark.parametrize("objective", ["ap", "auc"])
def test_the_head_is_sklearns_at_the_strength_that_select_prefers(kind: Any, objective: Metric, partial: Toy) -> None:
    toy = partial(1)
    z, y = toy.fit
    coordinates = principal_coordinates(z, 2048)
    metric = average_precision_score if objective == "ap" else roc_auc_score
    scores, logits = [], []
    for deviation in prior_deviation(STRENGTHS, coordinates).T.numpy():
        x = coordinates.transform(z).numpy() * deviation
        at = coordinates.transform(toy.select[0]).numpy() * deviation
        columns = []
        for label in y.T:
            known = np.isfinite(label) if kind == "ignore" else np.ones(len(label), bool)
            model = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(x[known], np.nan_to_num(label[known]))
            columns.append(model.decision_function(at))
        logits.append(np.stack(columns, axis=1))
        labels = toy.select[1]
        known = np.isfinite(labels)
        scores.append(
            np.mean([metric(labels[known[:, c], c], logits[-1][known[:, c], c]) for c in range(labels.shape[1])])
        )
    best = int(np.argmax(scores))
    assert scores[best] - np.sort(scores)[-2] > 1e-3  # else rounding would choose
    weight, bias = first_head(split(toy.fit), split(toy.select), kind, objective)
    found = linear_logits(toy.select[0], weight, bias).numpy()
    np.testing.assert_allclose(found, logits[best], atol=0.05 * logits[best].std())


def test_unknown_positives_pull_down_only_where_they_are_assumed_negative(partial: Toy) -> None:
    """The bias is free, so the mean probability is the share of positives among what was trained on."""
    toy = partial(0)
    z, y = toy.fit[0], toy.fit[1].copy()
    full = np.nan_to_num(y)
    y[(full == 1) & (np.arange(len(y))[:, None] % 4 > 0)] = np.nan  # three of four positives are unknown
    heads: dict[str, Any] = {
        kind: first_head(split((z, y)), split(toy.select), kind, "ap")  # type: ignore[arg-type]
        for kind in ("assume-negative", "ignore")
    }
    probability = {kind: torch.sigmoid(linear_logits(z, *head)).numpy() for kind, head in heads.items()}
    known = np.isfinite(y)
    np.testing.assert_allclose(probability["assume-negative"].mean(0), np.nansum(y, axis=0) / len(y), atol=5e-3)
    np.testing.assert_allclose((probability["ignore"] * known).sum(0) / known.sum(0), np.nanmean(y, axis=0), atol=5e-3)
    assert bool((probability["ignore"].mean(0) > 1.5 * probability["assume-negative"].mean(0)).all())


def test_weights_of_unknown_labels_do_not_matter(partial: Toy) -> None:
    toy = partial(0)
    known = np.isfinite(toy.fit[1])
    for kind in ("assume-negative", "ignore"):
        expected = first_head(split(toy.fit), split(toy.select), kind, "ap")  # type: ignore[arg-type]
        for other in (0.0, 7.0):
            weighted = split(toy.fit, np.where(known, 1.0, other))
            found = first_head(weighted, split(toy.select), kind, "ap")  # type: ignore[arg-type]
            np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
            np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


def test_weights_of_known_labels_do(partial: Toy) -> None:
    toy = partial(0)
    positive = toy.fit[1] == 1
    plain = first_head(split(toy.fit), split(toy.select), "ignore", "ap")
    heavy = first_head(split(toy.fit, np.where(positive, 5.0, 1.0)), split(toy.select), "ignore", "ap")
    means = [float(linear_logits(toy.fit[0], *head).mean()) for head in (plain, heavy)]
    assert means[1] > means[0] + 0.5


def test_a_category_of_which_nothing_is_known_gets_a_finite_head(partial: Toy) -> None:
    toy = partial(0)
    y = toy.fit[1].copy()
    y[:, 1], y[:, 2] = np.nan, np.where(y[:, 2] == 1, np.nan, y[:, 2])
    for kind in ("assume-negative", "ignore"):
        weight, bias = first_head(split((toy.fit[0], y)), split(toy.select), kind, "ap", 1)  # type: ignore[arg-type]
        assert bool(torch.isfinite(weight).all() and torch.isfinite(bias).all())
        assert weight.shape == (4, 24) and bias.shape == (4,)


def test_features_of_each_category(partial: Toy) -> None:
    toy = partial(0)
    fit, select = (np.repeat(side[0][:, None], 4, axis=1) for side in (toy.fit, toy.select))
    own = first_head(split((fit, toy.fit[1])), split((select, toy.select[1])), "ignore", "ap")
    shared = first_head(split(toy.fit), split(toy.select), "ignore", "ap")
    logits = [linear_logits(toy.test[0], *head) for head in (own, shared)]
    np.testing.assert_allclose(logits[0], logits[1], atol=0.05)


def test_select_must_be_able_to_choose(partial: Toy) -> None:
    toy = partial(0)
    nothing = np.full_like(toy.select[1], np.nan)
    nothing[:5] = 0.0
    with pytest.raises(DataError, match="select: no category has both"):
        first_head(split(toy.fit), split((toy.select[0], nothing)), "ignore", "ap")
