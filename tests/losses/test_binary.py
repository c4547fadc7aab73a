"""Losses of partly known labels against their formulas in float64, and at logits where formulas break down."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from labelwise.errors import ConfigError
from labelwise.losses import asymmetric_loss, binary_cross_entropy
from labelwise.losses.binary import focal_loss, hill_loss, make_loss

LOSSES = {
    "bce": binary_cross_entropy,
    "asl": asymmetric_loss,
    "asl without margin": partial(asymmetric_loss, margin=0.0),
    "focal": focal_loss,
    "focal of a small power": partial(focal_loss, gamma=0.5),
    "focal margin": partial(focal_loss, margin=1.0),
    "hill": hill_loss,
}
all_losses = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def draw(seed: int = 0, shape: tuple[int, ...] = (6, 40)) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, soft targets with NaN for a third of them, weights."""
    g = torch.Generator().manual_seed(seed)
    logits, target = torch.randn(shape, generator=g) * 4, torch.rand(shape, generator=g)
    target[torch.rand(shape, generator=g) < 0.33] = torch.nan
    return logits, target, torch.rand(shape, generator=g) * 3


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), at)[0]


def asymmetric_formula(x: Tensor, y: Tensor, negative: float, positive: float, margin: float) -> Tensor:
    """In probabilities and float64, the focusing factors outside the graph."""
    p = torch.sigmoid(x.double())
    q = (1 - p + margin).clamp(max=1)
    focus_positive, focus_negative = ((1 - p) ** positive).detach(), ((1 - q) ** negative).detach()
    return -(y.double() * focus_positive * p.log() + (1 - y.double()) * focus_negative * q.log())


def test_cross_entropy_as_torch_has_it():
    logits, target, weight = draw()
    known = ~torch.isnan(target)
    for w in (None, weight):
        found = binary_cross_entropy(logits, target, w)
        expected = functional.binary_cross_entropy_with_logits(
            logits[known], target[known], None if w is None else w[known], reduction="none"
        )
        torch.testing.assert_close(found[known], expected)
        assert (found[~known] == 0).all() and found.shape == logits.shape and found.dtype == torch.float32


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 5), st.floats(0, 5), st.sampled_from([0.0, 0.05, 0.5]))
def test_asymmetric_loss_and_its_gradient_as_the_formula_has_them(seed, negative, positive, margin):
    logits, target, weight = draw(seed)
    known = ~torch.isnan(target)
    x, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    options = {"gamma_negative": negative, "gamma_positive": positive, "margin": margin}
    found = asymmetric_loss(x, target, weight, **options)
    expected = asymmetric_formula(exact, torch.nan_to_num(target), negative, positive, margin) * weight * known
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
    slope, exact_slope = gradient(found, x), gradient(expected, exact)
    # At the margin itself the slope has a step, and float32 may land on its other side.
    near = (torch.sigmoid(logits) - margin).abs() < 1e-5
    torch.testing.assert_close(slope[~near].double(), exact_slope[~near], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "loss", [partial(asymmetric_loss, gamma_negative=0, gamma_positive=0, margin=0), partial(focal_loss, gamma=0)]
)
def test_without_focus_and_margin_it_is_cross_entropy(loss):
    logits, target, weight = draw(1)
    torch.testing.assert_close(loss(logits, target, weight), binary_cross_entropy(logits, target, weight))


def focal_formula(x: NDArray[np.float64], y: NDArray[np.float64], gamma: float, margin: float) -> NDArray[np.float64]:
    """In probabilities and float64; good for moderate logits."""
    p, p_margin = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(margin - x))
    return -y * (1 - p_margin) ** gamma * np.log(p_margin) - (1 - y) * p**gamma * np.log(1 - p)


def hill_formula(
    x: NDArray[np.float64], y: NDArray[np.float64], curve: float, gamma: float, margin: float
) -> NDArray[np.float64]:
    p, p_margin = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(margin - x))
    return -y * (1 - p_margin) ** gamma * np.log(p_margin) + (1 - y) * (curve - p) * p**2


@pytest.mark.parametrize("margin", [0.0, 1.0])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.7])
@pytest.mark.parametrize("name", ["focal", "hill"])
def test_focal_and_hill_and_their_slopes_as_the_formulas_have_them(name, gamma, margin):
    """Values against NumPy in probabilities, gradients against its central differences."""
    logits, target, weight = draw(3)
    target[:2] = (target[:2] > 0.5).float().where(~torch.isnan(target[:2]), torch.nan)  # hard labels as well
    if name == "focal":
        loss, formula = (
            partial(focal_loss, gamma=gamma, margin=margin),
            partial(focal_formula, gamma=gamma, margin=margin),
        )
    else:
        options = {"curve": 1.7, "gamma": gamma, "margin": margin}
        loss, formula = partial(hill_loss, **options), partial(hill_formula, **options)
    x = logits.clone().requires_grad_()
    found = loss(x, target, weight)
    known = ~torch.isnan(target).numpy()
    exact, y, w = (a.double().numpy()[known] for a in (logits, target, weight))
    np.testing.assert_allclose(found.detach().numpy()[known], w * formula(exact, y), rtol=1e-4, atol=1e-6)
    slope = (formula(exact + 1e-5, y) - formula(exact - 1e-5, y)) / 2e-5
    np.testing.assert_allclose(gradient(found, x).numpy()[known], w * slope, rtol=1e-4, atol=1e-5)
    assert not found.detach().numpy()[~known].any()


def test_focal_loss_as_torchvision_has_it():
    logits, target, _ = draw(4)
    target = torch.nan_to_num(target).round()
    for gamma in (0.0, 1.0, 2.0):
        expected = sigmoid_focal_loss(logits, target, alpha=-1, gamma=gamma)
        torch.testing.assert_close(focal_loss(logits, target, gamma=gamma), expected)


def test_hill_leaves_confident_negatives_alone():
    x = torch.tensor([-8.0, 0.0, 8.0], requires_grad=True)
    slope = gradient(hill_loss(x, torch.zeros(3)), x)
    torch.testing.assert_close(slope[1], torch.tensor(3 / 16))
    assert slope[0] < 1e-5 and slope[2] < 1e-5
    assert hill_loss(x, torch.zeros(3))[2].item() == pytest.approx(0.5, abs=1e-3)


@all_losses
def test_a_soft_target_is_the_mean_of_both_hard_ones(loss):
    logits, _, _ = draw(5)
    share = torch.linspace(0, 1, 40).expand_as(logits)
    mean = share * loss(logits, torch.ones_like(logits)) + (1 - share) * loss(logits, torch.zeros_like(logits))
    torch.testing.assert_close(loss(logits, share), mean)


def test_easy_negatives_cost_nothing_and_do_not_pull():
    x = torch.tensor([-3.1, -20.0, -1e4], requires_grad=True)  # p below the margin of 0.05
    loss = asymmetric_loss(x, torch.zeros(3))
    assert loss.tolist() == [0, 0, 0] and gradient(loss, x).tolist() == [0, 0, 0]


@all_losses
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_value_and_gradient_at_any_logit(loss, dtype):
    x = torch.tensor([1e4, -1e4, 90.0, -90.0, 18.0, -18.0, 0.0]).to(dtype)[:, None].repeat(1, 4).requires_grad_()
    y = torch.tensor([0.0, 1.0, 0.3, torch.nan]).expand(7, 4)
    value = loss(x, y)
    slope = gradient(value, x)
    assert value.dtype == torch.float32 and torch.isfinite(value).all() and (value >= 0).all()
    assert torch.isfinite(slope).all()
    assert (value[:, 3] == 0).all() and (slope[:, 3] == 0).all()
    assert value[1, 1].item() == pytest.approx(1e4, rel=1e-2), "a positive at -1e4 still costs and pulls"
    assert slope[1, 1].item() == -1


@all_losses
def test_an_unknown_label_weighs_nothing_whatever_its_logit(loss):
    x = torch.tensor([torch.inf, -torch.inf, torch.nan, 3.0], requires_grad=True)
    value = loss(x, torch.tensor([torch.nan, torch.nan, torch.nan, 1.0]), torch.tensor([2.0, 2.0, torch.inf, 2.0]))
    assert value[:3].tolist() == [0, 0, 0] and value[3] > 0
    assert gradient(value, x)[:3].tolist() == [0, 0, 0]


@all_losses
def test_leading_dimensions_are_batches_and_weights_broadcast(loss):
    logits, target, _ = draw(2)
    weight = torch.linspace(0.1, 2, 40)
    rows = torch.stack([loss(x, y, weight) for x, y in zip(logits, target, strict=True)])
    torch.testing.assert_close(loss(logits, target, weight), rows)


def test_losses_by_name_have_their_options():
    logits, target, weight = draw(6)
    expected = {
        "bce": binary_cross_entropy(logits, target, weight),
        "focal": focal_loss(logits, target, weight, gamma=3),
        "hill": hill_loss(logits, target, weight, gamma=3),
        "asl": asymmetric_loss(logits, target, weight, gamma_negative=2, gamma_positive=1, margin=0.2),
    }
    for name, value in expected.items():
        found = make_loss(name, gamma=3, gamma_negative=2, gamma_positive=1, margin=0.2)(logits, target, weight)
        assert torch.equal(found, value), name


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mse", {}, "loss: expected one of bce, focal, asl, hill, got 'mse'"),
        ("focal", {"gamma": -1}, "at least 0"),
        ("asl", {"gamma_positive": -0.5}, "gamma_positive -0.5"),
        ("asl", {"margin": 1.0}, r"margin must be in \[0, 1\)"),
    ],
)
def test_a_wrong_option_is_named(name, options, said):
    with pytest.raises(ConfigError, match=said):
        make_loss(name, **options)
