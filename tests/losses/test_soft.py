"""Soft cross-entropy and KL against torch, and their gradients against the formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from labelwise.losses import (
    distillation,
    entropy,
    kl_divergence,
    logit_squared_error,
    reverse_kl,
    soft_cross_entropy,
    squared_error,
    symmetric_kl,
    tempered,
)

LOSSES = {
    "ce": soft_cross_entropy,
    "reverse": reverse_kl,
    "symmetric": symmetric_kl,
    "l2": squared_error,
    "logit_l2": logit_squared_error,
    "kd": lambda logits, q: distillation(logits, q, 4.0),
}


def draw(seed: int = 0, n: int = 32, k: int = 7, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(n, k) * scale, torch.softmax(torch.randn(n, k) * scale, 1)


def test_one_hot_is_ordinary_cross_entropy():
    logits, _ = draw()
    label = torch.arange(32) % 7
    expected = functional.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, functional.one_hot(label, 7)), expected)


def test_soft_targets_and_class_weights_as_torch_has_them():
    logits, q = draw(1)
    weight = torch.linspace(0.2, 3, 7)
    for w in (None, weight):
        expected = functional.cross_entropy(logits, q, weight=w, reduction="none")
        torch.testing.assert_close(soft_cross_entropy(logits, q, w), expected)
    label = torch.arange(32) % 7
    expected = functional.cross_entropy(logits, label, weight=weight, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, functional.one_hot(label, 7), weight), expected)


def test_kl_against_torch():
    logits, q = draw(2)
    expected = functional.kl_div(torch.log_softmax(logits, 1), q, reduction="none").sum(1)
    torch.testing.assert_close(kl_divergence(q, logits), expected, atol=1e-5, rtol=1e-4)


def test_both_forms_have_the_same_gradient_softmax_minus_target():
    logits, q = draw(3)
    gradients = []
    for loss in (lambda z: soft_cross_entropy(z, q), lambda z: kl_divergence(q, z)):
        z = logits.clone().requires_grad_()
        loss(z).sum().backward()
        gradients.append(z.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], torch.softmax(logits, 1) - q)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 30), st.floats(0.01, 30))
def test_kl_is_not_negative_and_zero_for_itself(seed, k, scale):
    logits, q = draw(seed, 4, k, scale)
    assert (kl_divergence(q, logits) >= -1e-4).all()
    torch.testing.assert_close(kl_divergence(torch.softmax(logits, 1), logits), torch.zeros(4), atol=1e-4, rtol=0)
    h = entropy(q)
    assert (h >= 0).all() and (h <= torch.log(torch.tensor(float(k))) + 1e-5).all()


def test_entropy_of_certainty_is_zero_and_its_gradient_finite():
    q = torch.eye(4).requires_grad_()
    h = entropy(q)
    assert h.tolist() == [0, 0, 0, 0]
    h.sum().backward()
    assert torch.isfinite(q.grad).all()


# the other losses


def test_reverse_and_symmetric_kl_against_torch():
    logits, q = draw(5)
    p = torch.softmax(logits, 1)
    reverse = functional.kl_div(q.log(), p, reduction="none").sum(1)
    torch.testing.assert_close(reverse_kl(logits, q), reverse, atol=1e-5, rtol=1e-4)
    both = (reverse + kl_divergence(q, logits)) / 2
    torch.testing.assert_close(symmetric_kl(logits, q), both, atol=1e-5, rtol=1e-4)
    assert (reverse_kl(logits, q) - kl_divergence(q, logits)).abs().max() > 0.1


def test_reverse_kl_of_a_one_hot_target_is_finite():
    logits, _ = draw(6, k=3)
    q = functional.one_hot(torch.arange(32) % 3, 3).float()
    p = torch.softmax(logits, 1)
    expected = -entropy(p) - (p * torch.where(q == 1, 0.0, torch.log(torch.tensor(1e-8)))).sum(1)
    torch.testing.assert_close(reverse_kl(logits, q), expected, atol=1e-4, rtol=1e-5)


def test_squared_errors_by_hand():
    logits = torch.tensor([[0.0, torch.log(torch.tensor(3.0))]])
    q = torch.tensor([[0.5, 0.5]])
    assert squared_error(logits, q).item() == pytest.approx(2 * 0.25**2)
    # Centred logits are -+ log(3) / 2, those of q are 0.
    assert logit_squared_error(logits, q).item() == pytest.approx((torch.tensor(3.0).log().item() / 2) ** 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_tempered_probabilities_are_the_softmax_of_divided_logits(temperature):
    logits, _ = draw(7)
    expected = torch.softmax(logits / temperature, 1)
    torch.testing.assert_close(tempered(torch.softmax(logits, 1), temperature), expected, atol=1e-6, rtol=1e-4)
    certain = tempered(torch.eye(3), temperature)
    torch.testing.assert_close(certain, torch.eye(3), atol=1e-6 if temperature <= 1 else 1e-8, rtol=0)


def test_distillation_is_hintons():
    logits, _ = draw(8)
    teacher, _ = draw(9)
    for t in (1.0, 3.0):
        q = tempered(torch.softmax(teacher, 1), t)
        expected = t**2 * functional.kl_div(
            torch.log_softmax(logits / t, 1), torch.softmax(teacher / t, 1), reduction="none"
        ).sum(1)
        torch.testing.assert_close(distillation(logits, q, t), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_that_of_finite_differences(name):
    logits, q = draw(10, n=3, k=4, scale=1.5)
    z = logits.double().requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](z, q).double().sum(), z)
    step = 1e-2  # losses are in float32: a smaller step would drown
    for i in range(3):
        for c in range(4):
            up, down = logits.double().clone(), logits.double().clone()
            up[i, c] += step
            down[i, c] -= step
            slope = (LOSSES[name](up, q).sum() - LOSSES[name](down, q).sum()).item() / (2 * step)
            assert gradient[i, c].item() == pytest.approx(slope, abs=3e-3, rel=2e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_a_student_that_agrees_has_no_gradient(name):
    logits, _ = draw(11)
    temperature = 4.0 if name == "kd" else 1.0
    q = torch.softmax(logits / temperature, 1)
    z = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](z, q).sum(), z)
    assert gradient.abs().max() < 2e-3 if name == "logit_l2" else gradient.abs().max() < 2e-5


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_finite_at_extreme_logits_and_certain_targets(name):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]]).requires_grad_()
    target = torch.tensor([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
    loss = LOSSES[name](logits, target)
    assert loss.dtype == torch.float32 and loss.shape == (2,) and torch.isfinite(loss).all()
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_at_large_logits_in_every_precision(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]]).to(dtype).requires_grad_()
    target = torch.tensor([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]).to(dtype)
    loss = soft_cross_entropy(logits, target)
    assert loss.dtype == torch.float32 and torch.isfinite(loss).all()
    assert torch.isfinite(kl_divergence(target, logits)).all()
    loss.mean().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_leading_dimensions_are_batches(name):
    logits, q = draw(4)
    batched = LOSSES[name](logits.view(4, 8, 7), q.view(4, 8, 7))
    torch.testing.assert_close(batched.flatten(), LOSSES[name](logits, q))
    torch.testing.assert_close(batched[0, 0], LOSSES[name](logits[0], q[0]))
