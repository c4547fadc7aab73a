"""Losses of partly known labels against their formulas in float64, and at logits where formulas break down."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from labelwise.losses import asymmetric_loss, binary_cross_entropy

LOSSES = [binary_cross_entropy, asymmetric_loss, lambda x, y, w=None: asymmetric_loss(x, y, w, margin=0.0)]


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


def test_without_focus_and_margin_it_is_cross_entropy():
    logits, target, weight = draw(1)
    found = asymmetric_loss(logits, target, weight, gamma_negative=0, gamma_positive=0, margin=0)
    torch.testing.assert_close(found, binary_cross_entropy(logits, target, weight))


def test_easy_negatives_cost_nothing_and_do_not_pull():
    x = torch.tensor([-3.1, -20.0, -1e4], requires_grad=True)  # p below the margin of 0.05
    loss = asymmetric_loss(x, torch.zeros(3))
    assert loss.tolist() == [0, 0, 0] and gradient(loss, x).tolist() == [0, 0, 0]


@pytest.mark.parametrize("loss", LOSSES)
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


@pytest.mark.parametrize("loss", LOSSES)
def test_an_unknown_label_weighs_nothing_whatever_its_logit(loss):
    x = torch.tensor([torch.inf, -torch.inf, 3.0], requires_grad=True)
    value = loss(x, torch.tensor([torch.nan, torch.nan, 1.0]), torch.tensor([2.0, 2.0, 2.0]))
    assert value[:2].tolist() == [0, 0] and value[2] > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_leading_dimensions_are_batches_and_weights_broadcast(loss):
    logits, target, _ = draw(2)
    weight = torch.linspace(0.1, 2, 40)
    rows = torch.stack([loss(x, y, weight) for x, y in zip(logits, target, strict=True)])
    torch.testing.assert_close(loss(logits, target, weight), rows)
