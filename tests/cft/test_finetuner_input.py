"""What the estimator refuses, each in one clear line, and what its inputs may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from labelwise.errors import ConfigError, DataError

Toy = Callable[..., Any]


def test_soft_labels_are_for_fit_alone(partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    soft = np.clip(toy.fit[1], 0.1, 0.9)
    for options in ({}, {"method": "logistic"}):
        assert np.isfinite(toy.fitted(options, labels=soft).weight_).all()
    for options in ({"method": "genetic"}, {"method": "auto", "preset": "paper-2024"}):
        with pytest.raises(DataError, match=r"fit labels: row \d+, category \d: soft label 0\.\d"):
            toy.fitted(options, labels=soft)
    chosen = np.clip(toy.select[1], 0.1, 1)
    with pytest.raises(DataError, match=r"select labels: .* soft label 0.1; AP and AUC rank 1 against 0"):
        toy.fitted(select=(toy.select[0], chosen))
    with pytest.raises(DataError, match=r"held out to select: .* soft label"):
        toy.fitted(labels=soft, select=None)


BAD: tuple[tuple[str, dict[str, Any], str], ...] = (
    (
        "nan feature",
        {"features": lambda t: put(t.fit[0], (7, 2), np.nan)},
        "fit features: row 7, column 2 is nan; expected a number",
    ),
    (
        "infinite feature",
        {"features": lambda t: put(t.fit[0], (9, 0), -np.inf)},
        "fit features: row 9, column 0 is -inf; expected a number",
    ),
    (
        "tensor",
        {"features": lambda t: torch.from_numpy(put(t.fit[0], (9, 0), np.inf))},
        "row 9, column 0 is inf; expected",
    ),
    (
        "select nan",
        {"select": lambda t: (put(t.select[0], (3, 1), np.nan), t.select[1])},
        "select features: row 3, column 1 is nan",
    ),
    (
        "two infinities",
        {"features": lambda t: put(put(t.fit[0], (5, 0), np.inf), (5, 1), -np.inf)},
        "row 5, column 0 is inf",
    ),
    ("complex", {"features": lambda t: t.fit[0] + 1j}, "fit features: expected real numbers, found complex"),
    ("sparse", {"features": lambda t: csr_array(t.fit[0])}, "fit features: sparse arrays are not supported"),
    ("one axis", {"features": lambda t: t.fit[0][0]}, r"fit features: expected \(N, D\) or \(N, C, D\)"),
    ("no rows", {"features": lambda t: t.fit[0][:0]}, r"fit features: 0 sample\(s\)"),
    ("width", {"features": lambda t: t.fit[0][:, :5]}, "fit features: 5 features a row, expected 6"),
    ("head width", {"head_weight": lambda t: t.weight[:, :5]}, "fit features: 6 features a row, expected 5"),
    ("head shape", {"head_bias": lambda t: t.bias[:1]}, r"head: expected weight \(C, D\) and bias \(C,\), found"),
    ("head nan", {"head_weight": lambda t: t.weight * np.nan}, "head: not finite"),
    ("fewer labels", {"labels": lambda t: t.fit[1][:-1]}, r"fit labels: expected \(N, C\) with N = 300"),
    ("categories", {"labels": lambda t: t.fit[1][:, :1]}, "fit labels: 1 categories, expected 2"),
    ("select width", {"select": lambda t: (t.select[0][:, :3], t.select[1])}, "select features: 3 features a row"),
    ("own categories", {"features": lambda t: np.repeat(t.fit[0][:, None], 3, 1)}, "features of 3 categories, labels"),
    ("label 2", {"labels": lambda t: put(t.fit[1], (4, 1), 2)}, "fit labels: row 4, category 1: 2 is not 1, 0, NaN"),
    ("label -0.5", {"select": lambda t: (t.select[0], put(t.select[1], (6, 0), -0.5))}, "row 6, category 0: -0.5 is"),
    ("label inf", {"labels": lambda t: put(t.fit[1], (0, 0), np.inf)}, "row 0, category 0: inf is not"),
    (
        "weight shape",
        {"label_weight": lambda t: np.ones(3)},
        "label_weight: expected finite numbers of at least 0",
    ),
    ("weight < 0", {"label_weight": lambda t: np.full(t.fit[1].shape, -1.0)}, "label_weight: expected finite"),
    ("weight nan", {"label_weight": lambda t: np.full(t.fit[1].shape, np.nan)}, "label_weight: expected finite"),
    ("groups", {"select": lambda t: None, "groups": lambda t: [1, 2]}, "groups: 2 entries for 300 rows"),
    (
        "one group",
        {"select": lambda t: None, "groups": lambda t: [1] * 300},
        "too few to hold some out: give",
    ),
    ("equal rows", {"features": lambda t: np.ones_like(t.fit[0])}, "features of all fit rows are equal"),
    ("one row", {"features": lambda t: t.fit[0][:1].repeat(300, 0)}, "features of all fit rows are equal"),
)


def put(values: Any, place: tuple[int, int], value: float) -> Any:
    out = values.copy()
    out[place] = value
    return out


@pytest.mark.parametrize(("changes", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_input_is_one_clear_line(changes: dict[str, Any], message: str, partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    with pytest.raises(DataError, match=message) as caught:
        toy.fitted(**{key: make(toy) for key, make in changes.items()})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "f1"}, "objective: expected one of ap, auc, got 'f1'"),
        ({"method": "sgd"}, "method: expected one of auto, logistic, backprop, genetic, got 'sgd'"),
        ({"loss": "focal"}, "loss: expected one of bce, asl, got 'focal'"),
        ({"preset": "slow"}, "preset: expected one of fast, paper-2024, got 'slow'"),
        ({"preset": "fast", "method": "genetic"}, "preset fast belongs to method auto or logistic"),
        ({"preset": "paper-2024", "method": "logistic"}, "preset paper-2024 belongs to method auto or backprop or gen"),
        ({"device": "gpu"}, "device 'gpu'"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, Any], message: str, partial: Toy) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        partial(0, categories=2, dim=6).fitted(options)
    assert "\n" not in str(caught.value)


def test_prediction_checks_its_features(partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    tuner = toy.fitted()
    with pytest.raises(DataError, match="X has 5 features, but CategoryWiseFineTuner is expecting 6"):
        tuner.decision_function(toy.test[0][:, :5])
    with pytest.raises(DataError, match=r"row 2, column . is .*; expected a number"):
        tuner.predict_proba(put(toy.test[0], (2, 2), np.nan))
