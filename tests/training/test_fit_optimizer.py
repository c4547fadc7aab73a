"""Rates by step, decay by parameter, averages by formula."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labelwise.config import TrainConfig
from labelwise.training.fit import learning_rate, make_average, make_optimizer, set_learning_rate


def rates(config: TrainConfig, steps: int) -> list[float]:
    return [learning_rate(config, step, steps) for step in range(config.epochs * steps)]


def test_cosine_with_warm_up():
    config = TrainConfig(epochs=10, lr=1.0, min_lr=0.01, warmup_epochs=2)
    found = rates(config, 20)
    assert found[0] == pytest.approx(1 / 41) and all(a < b for a, b in itertools.pairwise(found[:41]))
    assert found[40] == 1.0 and max(found) == 1.0
    assert all(a > b for a, b in itertools.pairwise(found[40:]))
    assert 0.01 <= found[-1] < 0.0102
    middle = found[40 + 80]
    assert middle == pytest.approx(0.01 + 0.99 / 2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.floats(0, 20), st.sampled_from(["cosine", "constant"]))
def test_a_rate_is_always_positive_and_at_most_lr(epochs, steps, warmup, schedule):
    config = TrainConfig(epochs=epochs, lr=0.3, warmup_epochs=warmup, schedule=schedule)
    for rate in rates(config, steps):
        assert 0 < rate <= 0.3 and math.isfinite(rate)


def test_cosine_follows_torch_s():
    config = TrainConfig(epochs=4, lr=0.2, warmup_epochs=0)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for rate in rates(config, 5):
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        schedule.step()


def test_step_regime_by_epochs():
    config = TrainConfig(epochs=5, schedule="step", lr_steps={"1-2": 0.1, "3": 0.05, "4-9": 0.01}, warmup_epochs=0)
    assert rates(config, 3) == [0.1] * 6 + [0.05] * 3 + [0.01] * 6
    warm = TrainConfig(epochs=2, schedule="step", lr_steps={"1-2": 0.1}, warmup_epochs=1)
    assert rates(warm, 3) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))


def test_norm_parameters_and_biases_are_not_decayed():
    net = network()
    for name in ("sgd", "adamw"):
        optimizer = make_optimizer(net, TrainConfig(optimizer=name, weight_decay=0.1))
        decayed, others = optimizer.param_groups
        assert decayed["weight_decay"] == 0.1 and others["weight_decay"] == 0
        assert {id(p) for p in decayed["params"]} == {id(net[0].weight), id(net[3].weight)}
        assert len(others["params"]) == 4
    (only,) = make_optimizer(net, TrainConfig(decay_norm_and_bias=True, weight_decay=0.1)).param_groups
    assert len(only["params"]) == 6
    net[0].requires_grad_(False)
    assert sum(len(g["params"]) for g in make_optimizer(net, TrainConfig()).param_groups) == 4


def test_sgd_without_momentum():
    optimizer = make_optimizer(network(), TrainConfig(momentum=0, lr=0.3))
    assert not optimizer.param_groups[0]["nesterov"]
    set_learning_rate(optimizer, 0.7)
    assert {group["lr"] for group in optimizer.param_groups} == {0.7}


def test_averaged_weights():
    net = network()
    assert make_average(net, 0.0) is None
    average = make_average(net, 0.9)
    expected = None
    for step in range(4):
        with torch.no_grad():
            net[3].weight += 1
            net[1].running_mean += step
        average.update_parameters(net)
        weight = net[3].weight.detach().clone()
        decay = min(0.9, (1 + step) / (10 + step))  # the random first weights do not stay for 1 / (1 - decay) steps
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
    torch.testing.assert_close(average.module[3].weight.detach(), expected)
    assert torch.equal(average.module[1].running_mean, net[1].running_mean)
    assert average.module[3].weight.data_ptr() != net[3].weight.data_ptr()
