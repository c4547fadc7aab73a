"""Plans within a budget: a function of facts, speed and budget."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.config import load_recipe
from labelwise.errors import ConfigError
from labelwise.refinery.deadline import SLACK, Deadline
from labelwise.refinery.defaults import default_values
from labelwise.refinery.plan import Budget, Facts, Plan, Planned, Speed, epochs_only, ladder, make_plan, parse_budget

DIGITS = Facts(fit=900, select=100, test=797, side=8)
FEATURES = Facts(fit=9000, select=1000, test=10000, embeddings=True)
PARTIAL = Facts(fit=1285, select=395, test=420, embeddings=True, multi_label=True, unknown=0.9)
KNOWN = Facts(fit=1285, select=395, test=420, embeddings=True, multi_label=True)


def plan(facts: Facts, budget: str, speed: Speed | None = None, *overrides: str) -> Plan:
    model = "mlp" if facts.embeddings else "small-narrow"
    values = {"data": {"source": "digits"}, **default_values(facts, model, pretrained=False, gpu=False)}
    return make_plan(facts, values, overrides, parse_budget(budget), speed or epochs_only(facts))


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("45s", 45, "seconds"),
        ("1.5h", 5400, "seconds"),
        ("30min", 1800, "seconds"),
        ("2 d", 172800, "seconds"),
        ("1epoch", 1, "epochs"),
        ("200epochs", 200, "epochs"),
    ],
)
def test_a_budget_is_a_time_or_a_number_of_epochs(text: str, amount: float, unit: str) -> None:
    assert parse_budget(text) == Budget(amount, unit, text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "-1h", "2 weeks", "1.5epochs", "1h30m"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--budget .*expected a time such as"):
        parse_budget(text)


@settings(max_examples=15, deadline=None)
@given(
    facts=st.sampled_from([DIGITS, FEATURES, PARTIAL, KNOWN]),
    train=st.floats(1e-6, 1e-2),
    forward=st.floats(0, 1),
    kernel_ridge=st.floats(0, 1000),
    budgets=st.lists(st.floats(1, 2e5), min_size=2, max_size=4),
)
def test_a_plan_stays_within_its_budget_and_more_budget_never_trains_fewer_networks(
    facts: Facts, train: float, forward: float, kernel_ridge: float, budgets: list[float]
) -> None:
    speed, before = Speed(train, forward * train, kernel_ridge, 0.1), 0
    for amount in sorted(budgets):
        try:
            found = plan(facts, f"{amount:.3f}s", speed)
        except ConfigError:
            assert before == 0  # a larger budget is never too small
            continue
        assert 0 < found.cost <= amount
        assert len(found.networks) >= before
        before = len(found.networks)


@pytest.mark.parametrize("facts", [DIGITS, FEATURES, PARTIAL, KNOWN])
def test_every_rung_trains_more_than_the_one_below(facts: Facts) -> None:
    budgets = [1, 20, *range(60, 1500, 120), 10_000]
    found = [plan(facts, f"{budget}epochs") for budget in budgets]
    assert len(found[0].networks) == 1 and not found[-1].left_out
    costs = [one.cost for one in found]
    assert costs == sorted(costs) and len({len(one.left_out) for one in found}) > len(ladder(facts)) // 2
    assert all(one.cost <= budget for one, budget in zip(found, budgets, strict=True))


def test_a_small_budget_refines_with_shorter_schedules_and_a_smaller_one_trains_one_network() -> None:
    assert [one.epochs for one in plan(DIGITS, "15epochs").networks] == [15]
    pair = plan(DIGITS, "60epochs")
    assert [(one.name, one.epochs) for one in pair.networks] == [("given-30-epochs", 30), ("generation-2", 30)]
    assert pair.recipe.chain.first == "early_stop" and pair.recipe.baselines.kinds == ("early_stop",)


def test_what_is_known_of_every_sample_is_not_refined() -> None:
    assert plan(KNOWN, "5000epochs").recipe.chain.generations == 1
    assert plan(PARTIAL, "5000epochs").recipe.chain.generations == 2


def test_options_of_the_user_stand_above_the_plan() -> None:
    found = plan(DIGITS, "5000epochs", None, "train.epochs=10", "chain.generations=2", "seeds=3")
    assert found.recipe.train.epochs == 20 and found.recipe.chain.generations == 2
    assert found.cost == 3 * sum(one.epochs for one in found.networks)
    with pytest.raises(ConfigError, match=r"train\.epoch"):
        plan(DIGITS, "5000epochs", None, "train.epoch=10")


def test_a_budget_below_one_epoch_says_what_one_takes() -> None:
    with pytest.raises(ConfigError, match=r"--budget 1s: one epoch of small-narrow on 900 samples takes about 10 s"):
        plan(DIGITS, "1s", Speed(0.01, 0.0))


@pytest.mark.parametrize("facts", [DIGITS, FEATURES, PARTIAL, KNOWN])
@pytest.mark.parametrize("gpu", [False, True])
def test_the_defaults_of_a_recipe_are_allowed(facts: Facts, gpu: bool) -> None:
    values = default_values(facts, "mlp" if facts.embeddings else "resnet18", pretrained=False, gpu=gpu)
    assert make_plan(facts, values, (), parse_budget("100epochs"), epochs_only(facts)).networks
    assert (values["train"].get("precision") == "bf16") == gpu


def test_published_weights_want_large_views_and_small_steps() -> None:
    facts = Facts(fit=30_000, select=3000, test=5000, side=480, channels=3)
    ours, theirs = (default_values(facts, "resnet50", pretrained=own, gpu=False) for own in (False, True))
    assert theirs["views"]["size"] == 224 and theirs["model"]["init"] == "pretrained"
    assert theirs["train"]["lr"] < ours["train"]["lr"] and theirs["train"]["epochs"] < ours["train"]["epochs"]
    assert default_values(facts, "vit_small_patch16_224", pretrained=True, gpu=False)["train"]["optimizer"] == "adamw"


def deadline(monkeypatch: pytest.MonkeyPatch, seconds: float, **more: Any) -> tuple[Deadline, list[float]]:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    expected = {name: Planned(name, 10, 0, 10.0) for name in ("first", "second", "third")}
    return Deadline(seconds, expected, **more, _started=0.0), clock


def test_a_network_that_would_end_after_the_budget_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    found, clock = deadline(monkeypatch, 35.0)
    assert found.allows("first")
    clock[0] = 10.0
    found.took("first", 10.0, 10)
    assert found.allows("second") and found.allows("second", "third")
    clock[0] = 30.0
    found.took("second", 20.0, 10)  # twice as slow: what is left is expected to take 15
    assert not found.allows("third") and found.skipped == ["third"]


def test_a_network_that_stopped_early_does_not_count_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    found, clock = deadline(monkeypatch, 20.0)
    clock[0] = 5.0
    found.took("first", 5.0, 5)  # half of its epochs in half of its time
    assert not found.allows("second", "third")
    assert found.allows("second") and found.seconds * (1 + SLACK) > 15


def test_a_run_that_goes_on_may_find_its_budget_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deadline(monkeypatch, 20.0, spent=25.0)[0].allows("first")
    assert not deadline(monkeypatch, 20.0, spent=25.0, fresh=False)[0].allows("first")


def test_the_planned_recipe_can_be_loaded_again(tmp_path: Any) -> None:
    from labelwise.refinery.budget import recipe_text

    for facts, budget in ((DIGITS, "100epochs"), (FEATURES, "900epochs"), (PARTIAL, "9000epochs")):
        found = plan(facts, budget)
        (tmp_path / "recipe.yaml").write_text(recipe_text({"request": {"data": "digits"}, **found.to_dict()}))
        assert load_recipe(tmp_path / "recipe.yaml") == found.recipe
