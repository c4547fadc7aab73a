"""All problems solved at once have the solutions that scikit-learn and SciPy find one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from labelwise.cft.solvers.coordinates import Coordinates, principal_coordinates
from labelwise.cft.solvers.inputs import blocks
from labelwise.cft.solvers.logistic import Hyperparameters, LogisticFit, fit_logistic, make_grid, prior_deviation

Floats = NDArray[np.float64]
N, DIM, CATEGORIES = 80, 6, 3


def case(
    seed: int = 0, n: int = N, categories: int = CATEGORIES, known: float = 0.6
) -> tuple[Coordinates, Tensor, Tensor]:
    """Coordinates, their values (n, R), and labels (n, C) of which a share is known."""
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=(n, DIM)) * 0.7 ** np.arange(DIM) + 1).astype(np.float32)
    truth = 3 * z @ rng.normal(size=(DIM, categories)) + rng.logistic(size=(n, categories))
    labels = (truth > np.quantile(truth, 0.7, axis=0)).astype(np.float32)
    labels[rng.random(labels.shape) > known] = np.nan
    labels[:2] = np.array([[1.0], [0.0]])  # both kinds are known of each
    coordinates = principal_coordinates(z, DIM)
    return coordinates, coordinates.transform(z), torch.from_numpy(labels)


def solve(
    coordinates: Coordinates,
    x: Tensor,
    labels: Tensor,
    candidates: Sequence[Hyperparameters],
    weight: Tensor | None = None,
    old: Tensor | None = None,
    budget: int = 10**9,
    **options: Any,
) -> LogisticFit:
    """LogisticFit of all categories, in their order, to a tight tolerance."""
    options = {"max_steps": 300, "tolerance": 1e-8, **options}
    total = labels.shape[1]
    out = torch.full((total, coordinates.rank, len(candidates)), torch.nan)
    bias, converged = torch.full((total, len(candidates)), torch.nan), torch.zeros(total, len(candidates))
    steps = 0
    for block in blocks(x, labels, weight, torch.arange(total), len(candidates), budget):
        known_old = None if old is None else block.take(old)
        heads = fit_logistic(block, candidates, coordinates, known_old, **options)
        out[block.categories], bias[block.categories] = heads.weight, heads.bias
        converged[block.categories] = heads.converged.float()
        steps = max(steps, heads.steps)
    return LogisticFit(out, bias, steps, converged.bool())


def sklearn_head(x: Tensor, y: Tensor, deviation: Tensor, **options: Any) -> tuple[Floats, float]:
    """Weights on coordinates and bias; a prior of its own per coordinate is a scale of it."""
    known = ~torch.isnan(y)
    weights = options.pop("sample_weight", None)
    scaled = (x[known] * deviation).double().numpy()
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000, **options)
    model.fit(scaled, y[known].numpy(), None if weights is None else weights[known].double().numpy())
    return model.coef_[0] * deviation.double().numpy(), float(model.intercept_[0])


def scipy_head(x: Tensor, y: Tensor, deviation: Tensor, weight: Tensor, offset: Tensor) -> tuple[Floats, float]:
    known = ~torch.isnan(y)
    z, t, w, o = ((v[known].double().numpy()) for v in (x * deviation, y, weight, offset))

    def loss(u: Floats) -> tuple[float, Floats]:
        logit = z @ u[:-1] + u[-1] + o
        residual = w * (1 / (1 + np.exp(-logit)) - t)
        value = (w * (np.logaddexp(0, logit) - t * logit)).sum() + 0.5 * (u[:-1] ** 2).sum()
        return value, np.r_[z.T @ residual + u[:-1], residual.sum()]

    u = minimize(loss, np.zeros(z.shape[1] + 1), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return u[:-1] * deviation.double().numpy(), float(u[-1])


def assert_head(
    heads: LogisticFit, category: int, column: int, expected: tuple[Floats, float], tolerance: float = 5e-3
) -> None:
    weight, bias = expected
    scale = max(1.0, float(np.abs(weight).max()))
    np.testing.assert_allclose(heads.weight[category, :, column], weight, atol=tolerance * scale)
    assert float(heads.bias[category, column]) == pytest.approx(bias, abs=tolerance * scale)


def test_solutions_are_those_of_sklearn() -> None:
    coordinates, x, labels = case()
    candidates = make_grid((0.1, 1.0, 16.0, 256.0), spectrum=(0.0,), rank=(512,))
    deviation = prior_deviation(candidates, coordinates)
    heads = solve(coordinates, x, labels, candidates)
    assert bool(heads.converged.all())
    for column in range(len(candidates)):
        for category in range(CATEGORIES):
            assert_head(heads, category, column, sklearn_head(x, labels[:, category], deviation[:, column]))


def test_the_default_tolerance_ends_close_to_the_optimum_and_not_beyond_it() -> None:
    coordinates, x, labels = case(n=300)
    candidates = make_grid((0.1, 16.0), spectrum=(0.0,), rank=(512,))
    tau = prior_deviation(candidates, coordinates)
    exact = solve(coordinates, x, labels, candidates)
    [block] = blocks(x, labels, None, torch.arange(CATEGORIES), len(candidates), 10**9)
    found = fit_logistic(block, candidates, coordinates, max_steps=300)
    exact = LogisticFit(exact.weight[block.categories], exact.bias[block.categories], exact.steps, exact.converged)
    assert bool(found.converged.all()) and found.steps < exact.steps

    def loss(fit: LogisticFit) -> Tensor:
        logits = torch.einsum("nr,crl->cnl", x.double(), fit.weight.double()) + fit.bias[:, None].double()
        y = labels.T[block.categories][..., None].double()
        known = ~y.isnan()
        bce = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, y.nan_to_num().expand_as(logits), reduction="none"
        )
        return (bce * known).sum(1) + 0.5 * (fit.weight / tau).square().sum(1)

    best = loss(exact)
    assert ((loss(found) - best) / best).max() < 2e-3


def test_spectrum_and_rank_are_scales_of_the_coordinates() -> None:
    coordinates, x, labels = case(1)
    candidates = make_grid((16.0,), spectrum=(-0.25, 0.5, 1.0), rank=(2, 512))
    deviation = prior_deviation(candidates, coordinates)
    heads = solve(coordinates, x, labels, candidates)
    for column, candidate in enumerate(candidates):
        ratio = deviation[: candidate.rank, column] / coordinates.deviation[: candidate.rank] ** candidate.spectrum
        np.testing.assert_allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-4)
        for category in range(CATEGORIES):
            assert_head(heads, category, column, sklearn_head(x, labels[:, category], deviation[:, column]))
        if candidate.rank == 2:
            assert not heads.weight[:, 2:, column].any()


def test_a_prior_variance_is_that_of_the_logit() -> None:
    coordinates, x, _ = case()
    candidates = make_grid((0.5, 9.0), spectrum=(-0.5, 0.0, 1.0), rank=(1, 3, 99))
    deviation = prior_deviation(candidates, coordinates)
    assert deviation.shape == (DIM, len(candidates))
    variance = ((deviation * coordinates.deviation[:, None]) ** 2).sum(0)
    np.testing.assert_allclose(variance, [c.variance for c in candidates], rtol=1e-4)
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(4000, DIM, generator=generator) * deviation[:, 0]
    assert float((x @ draws.T).var(0).mean()) == pytest.approx(candidates[0].variance, rel=0.1)


def test_balance_is_sklearns_class_weight_with_the_bias_of_the_classes_as_they_come() -> None:
    coordinates, x, labels = case(2)
    candidates = make_grid((4.0,), balance=(0.0, 0.5, 1.0))
    deviation = prior_deviation(candidates, coordinates)
    heads = solve(coordinates, x, labels, candidates)
    for category in range(CATEGORIES):
        y = labels[:, category]
        count, positive = int((~torch.isnan(y)).sum()), int((y == 1).sum())
        balanced = {0: count / (2 * (count - positive)), 1: count / (2 * positive)}
        for column, power in enumerate((0.0, 0.5, 1.0)):
            given = {kind: value**power for kind, value in balanced.items()}
            options = {"class_weight": "balanced" if power == 1 else given}
            weight, bias = sklearn_head(x, y, deviation[:, column], **options)
            assert_head(heads, category, column, (weight, bias - np.log(given[1] / given[0])))
    # with hardly any room for weights, the bias is the log odds of the known labels whatever the balance
    tight = solve(coordinates, x, labels, make_grid((1e-6,), balance=(0.0, 1.0)))
    odds = torch.logit((labels == 1).sum(0) / (~torch.isnan(labels)).sum(0))
    np.testing.assert_allclose(tight.bias, odds[:, None].expand(-1, 2), atol=0.02)


def test_label_weights_are_sklearns_sample_weights() -> None:
    coordinates, x, labels = case(3)
    weight = torch.from_numpy(np.random.default_rng(0).choice([0.0, 0.3, 1.0, 3.0], labels.shape).astype(np.float32))
    candidates = make_grid((1.0, 64.0))
    deviation = prior_deviation(candidates, coordinates)
    heads = solve(coordinates, x, labels, candidates, weight)
    for column in range(2):
        for category in range(CATEGORIES):
            expected = sklearn_head(x, labels[:, category], deviation[:, column], sample_weight=weight[:, category])
            assert_head(heads, category, column, expected)


def test_soft_labels_and_pull_are_those_of_scipy() -> None:
    coordinates, x, labels = case(4)
    soft = labels * 0.7 + 0.1
    old = torch.randn(labels.shape, generator=torch.Generator().manual_seed(1)) * 4
    weight = torch.rand(labels.shape, generator=torch.Generator().manual_seed(2)) + 0.5
    candidates = make_grid((0.5, 16.0), pull=(0.0, 0.5, 1.0))
    deviation = prior_deviation(candidates, coordinates)
    heads = solve(coordinates, x, soft, candidates, weight, old)
    for column, candidate in enumerate(candidates):
        for category in range(CATEGORIES):
            offset = candidate.pull * old[:, category]
            assert_head(
                heads,
                category,
                column,
                scipy_head(x, soft[:, category], deviation[:, column], weight[:, category], offset),
            )


def test_a_pull_needs_the_old_logits() -> None:
    coordinates, x, labels = case()
    with pytest.raises(ValueError, match="old logits"):
        solve(coordinates, x, labels, make_grid((1.0,), pull=(1.0,)))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.integers(8, 40), st.integers(1, 4), st.sampled_from([0.1, 0.5, 1.0]))
def test_together_or_one_by_one_is_the_same(seed: int, n: int, categories: int, known: float) -> None:
    coordinates, x, labels = case(seed, n, categories, known)
    candidates = (Hyperparameters(1.0), Hyperparameters(64.0, 0.5), Hyperparameters(64.0, 0.0, 1.0))
    precise = {"max_steps": 100, "tolerance": 1e-7}
    together = solve(coordinates, x, labels, candidates, **precise)
    for category in range(categories):
        alone = [solve(coordinates, x, labels[:, [category]], [c], budget=1, **precise) for c in candidates]
        for column, single in enumerate(alone):
            expected = (single.weight[0, :, 0].double().numpy(), float(single.bias[0, 0]))
            assert_head(together, category, column, expected, tolerance=2e-2)


def test_converged_means_next_to_the_optimum() -> None:
    coordinates, x, labels = case(5)
    candidates = make_grid((0.25, 16.0, 1024.0))
    tau = prior_deviation(candidates, coordinates)
    known = ~torch.isnan(labels)

    def measure(tolerance: float, column: int) -> tuple[Tensor, float]:
        """Regularised loss of every category, and the largest component of its gradient."""
        heads = solve(coordinates, x, labels, candidates, tolerance=tolerance)
        assert bool(heads.converged.all()) and heads.steps < 100
        weight, bias = heads.weight[:, :, column].double(), heads.bias[:, column].double()
        logits = x.double() @ weight.T + bias
        scaled = weight / tau[:, column]
        data = torch.where(known, torch.nn.functional.softplus(logits) - torch.nan_to_num(labels) * logits, 0.0)
        residual = torch.where(known, torch.sigmoid(logits) - torch.nan_to_num(labels), 0.0)
        gradient = (x * tau[:, column]).double().T @ residual + scaled.T
        largest = max(float(gradient.abs().max()), float(residual.sum(0).abs().max()))
        return data.sum(0) + 0.5 * (scaled**2).sum(1), largest

    for column in range(len(candidates)):
        loose, _ = measure(1e-3, column)
        tight, gradient = measure(1e-7, column)
        assert gradient < 2e-2
        assert bool((loose <= tight * 1.005).all())


def test_too_few_steps_are_told() -> None:
    coordinates, x, labels = case(5)
    heads = solve(coordinates, x, labels, make_grid((1024.0,)), max_steps=1)
    assert heads.steps == 1 and not heads.converged.any()


def test_separable_one_positive_one_class_and_unknown_stay_finite() -> None:
    coordinates, x, _ = case(6)
    labels = torch.full((N, 5), torch.nan)
    labels[:, 0] = (x[:, 0] > 0).float()  # separable
    labels[:, 1] = 0.0
    labels[7, 1] = 1.0  # one positive
    labels[:9, 2] = 0.0  # negatives alone
    labels[:9, 3] = 1.0  # positives alone; nothing is known of the last
    candidates = make_grid((0.25, 64.0, 1024.0), spectrum=(-0.25, 1.0), balance=(0.0, 1.0))
    heads = solve(coordinates, x, labels, candidates, max_steps=60)
    assert bool(torch.isfinite(heads.weight).all() and torch.isfinite(heads.bias).all())
    logits = torch.einsum("nr,crl->cnl", x, heads.weight)
    side, loud = labels[:, 0] == 1, candidates.index(Hyperparameters(1024.0, -0.25))
    assert bool((logits[0, side].amin(0) > logits[0, ~side].amax(0) - 1e-3)[loud])
    assert bool((logits[1].argmax(0) == 7).all() | (logits[1, 7] > logits[1].mean(0)).all())
    assert bool((heads.bias[2, : len(candidates) // 2] < 0).all() and (heads.bias[3, : len(candidates) // 2] > 0).all())
    assert float(heads.weight[4].abs().max()) == 0


def test_huge_old_logits_stay_finite() -> None:
    coordinates, x, labels = case(7)
    old = torch.where(torch.nan_to_num(labels) > 0, -1e4, 1e4)  # sure, and wrong
    heads = solve(coordinates, x, labels, make_grid((0.25, 1024.0), pull=(1.0,)), old=old, max_steps=40)
    assert bool(torch.isfinite(heads.weight).all() and torch.isfinite(heads.bias).all())


def test_features_of_each_category() -> None:
    coordinates, x, labels = case(8)
    own = torch.stack([x, x.flip(1) * 0.5, x + 1], dim=1)
    candidates = make_grid((1.0, 16.0))
    heads = solve(coordinates, own, labels, candidates)
    deviation = prior_deviation(candidates, coordinates)
    for category in range(CATEGORIES):
        expected = sklearn_head(own[:, category], labels[:, category], deviation[:, 1])
        assert_head(heads, category, 1, expected)


def test_candidates_say_what_they_are() -> None:
    assert len(set(map(str, make_grid((1.0, 2.0), (0.0, 1.0), (0.0, 0.5, 1.0), (0.0, 1.0), (8, 16))))) == 48
    assert str(Hyperparameters(16.0, 0.5, 1.0, 1.0, 64)) == "variance 16, spectrum 0.5, balanced, pull 1, rank 64"
