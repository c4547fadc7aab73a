"""Soft cross-entropy and KL against torch, and their gradients against the formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from labelwise.losses import entropy, kl_divergence, soft_cross_entropy


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


def test_entropy_of_certainty_is_zero():
    assert entropy(torch.eye(4)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_at_large_logits_in_every_precision(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]]).to(dtype).requires_grad_()
    target = torch.tensor([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]).to(dtype)
    loss = soft_cross_entropy(logits, target)
    assert loss.dtype == torch.float32 and torch.isfinite(loss).all()
    assert torch.isfinite(kl_divergence(target, logits)).all()
    loss.mean().backward()
    assert torch.isfinite(logits.grad).all()


def test_leading_dimensions_are_batches():
    logits, q = draw(4)
    batched = soft_cross_entropy(logits.view(4, 8, 7), q.view(4, 8, 7))
    torch.testing.assert_close(batched.flatten(), soft_cross_entropy(logits, q))
