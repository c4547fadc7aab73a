"""Scale and bias are SciPy's optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from labelwise.cft.adoption import PRIOR, known_entries, scale_and_bias

Floats = NDArray[np.float64]


def one(logits: Floats, label: Floats, weight: Floats | None = None, bias: float = 0.0) -> tuple[float, float]:
    tensors = [torch.from_numpy(np.asarray(v, np.float64))[None] for v in (logits, label)]
    counts = torch.ones_like(tensors[0]) if weight is None else torch.from_numpy(weight)[None]
    scale, shift = scale_and_bias(tensors[0], tensors[1], counts, torch.tensor([bias], dtype=torch.float64))
    return float(scale[0]), float(shift[0])


def loss(u: Floats, z: Floats, y: Floats, w: Floats, bias: float) -> float:
    """The prior on the bias holds where the logits are centred."""
    centre = (w * z).sum() / w.sum()
    x = np.exp(u[0]) * (z - centre) + u[1]
    prior = 0.5 * PRIOR * (u[0] ** 2 + (u[1] - bias - centre) ** 2)
    return float((w * (np.logaddexp(0, x) - y * x)).sum() + prior)


@pytest.mark.parametrize("seed", range(5))
def test_scale_and_bias_are_scipys_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=200) * rng.choice([0.3, 3.0]) + rng.normal() * 3
    y = (rng.random(200) < 1 / (1 + np.exp(2 - 1.5 * z))).astype(float)
    w = rng.choice([0.0, 1.0], 200)
    bias = float(rng.normal())
    scale, shift = one(z, y, w, bias)
    centre = (w * z).sum() / w.sum()
    found = np.array([np.log(scale), shift + scale * centre])
    best = minimize(loss, np.zeros(2), (z, y, w, bias), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    np.testing.assert_allclose(found, best.x, atol=1e-4)


def test_probabilities_fit_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000) * 2
    y = (rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * z - 1)))).astype(float)
    scale, shift = one(z, y)
    assert scale == pytest.approx(0.5, abs=0.03) and shift == pytest.approx(-1, abs=0.05)


def test_ranks_never_turn_round() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=400) * 5
    y = (z < 0).astype(float)  # the head is exactly wrong
    scale, shift = one(z, y)
    assert 0 < scale < 0.05 and np.isfinite(shift)
    logits = torch.from_numpy(z)
    assert torch.equal((scale * logits + shift).argsort(), logits.argsort())


def test_without_labels_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    scale, shift = one(rng.normal(size=9), np.zeros(9), np.zeros(9), bias=-2.5)
    assert (scale, shift) == (1.0, -2.5)


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e4, 1e8])
def test_separable_and_extreme_logits_stay_finite(size: float) -> None:
    z = np.linspace(-1, 1, 50) * size
    for y in ((z > 0).astype(float), np.ones(50), np.zeros(50), (np.arange(50) == 0).astype(float)):
        scale, shift = one(z, y)
        assert 0 < scale < np.inf and np.isfinite(shift)
    scale, shift = one(z, (z > 0).astype(float))
    assert float(np.logaddexp(0, np.where(z > 0, -1, 1) * (scale * z + shift)).mean()) < 0.75


def test_categories_do_not_see_each_other() -> None:
    rng = np.random.default_rng(1)
    z = torch.from_numpy(rng.normal(size=(4, 60)) * np.array([[0.1], [1], [9], [1e4]]))
    y = torch.from_numpy((rng.random((4, 60)) < 0.3).astype(float))
    w = torch.ones(4, 60)
    bias = torch.tensor([0.0, 1.0, -1.0, 3.0])
    scale, shift = scale_and_bias(z, y, w, bias)
    for c in range(4):
        alone = scale_and_bias(z[[c]], y[[c]], w[[c]], bias[[c]])
        assert float(scale[c]) == pytest.approx(float(alone[0]), rel=1e-4)
        assert float(shift[c]) == pytest.approx(float(alone[1]), rel=1e-4, abs=1e-6)


def test_known_entries_alone_give_the_same_scale_and_bias() -> None:
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(size=(4, 60)).astype(np.float32))
    labels = torch.from_numpy((rng.random((4, 60)) < 0.4).astype(np.float32))
    labels[torch.from_numpy(rng.random((4, 60)) < 0.7)] = torch.nan
    labels[3] = torch.nan  # nothing known at all
    packed = known_entries(logits, labels)
    assert packed[0].shape[1] == int((~labels.isnan()).sum(1).max()) < 60
    known = ~labels.isnan()
    dense = scale_and_bias(logits, torch.nan_to_num(labels), known.float(), torch.zeros(4))
    for found, expected in zip(scale_and_bias(*packed, torch.zeros(4)), dense, strict=True):
        torch.testing.assert_close(found, expected)
    assert torch.equal(packed[2].sum(1), known.sum(1).float())
