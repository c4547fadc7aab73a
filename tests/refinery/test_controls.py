"""The controls: shorter and longer schedules of the same regime, and which candidate is chosen."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.rows import make_row
from labelwise.config import TrainConfig, load_recipe
from labelwise.config.train import parse_lr_steps
from labelwise.refinery import candidates, controls

STEPS = {"1-140": 0.01, "141-170": 0.001, "171-200": 0.0001}


@pytest.mark.parametrize(
    ("epochs", "steps"),
    [
        (200, STEPS),
        (100, {"1-70": 0.01, "71-85": 0.001, "86-100": 0.0001}),
        (600, {"1-420": 0.01, "421-510": 0.001, "511-600": 0.0001}),
        (2, {"1-1": 0.01, "2-2": 0.001}),
        (1, {"1-1": 0.01}),
    ],
)
def test_another_number_of_epochs_has_the_same_step_regime(epochs: int, steps: dict[str, float]) -> None:
    train = TrainConfig(epochs=200, schedule="step", lr_steps=STEPS)
    assert controls.shortened(train, epochs).lr_steps == steps


def test_every_epoch_of_a_shorter_step_regime_has_one_rate() -> None:
    train = TrainConfig(epochs=200, schedule="step", lr_steps=STEPS)
    for epochs in range(1, 201):
        rates = parse_lr_steps(controls.shortened(train, epochs).lr_steps, epochs)
        assert len(rates) == epochs and rates == sorted(rates, reverse=True)


def test_a_shorter_schedule_warms_up_in_proportion_and_keeps_its_best_epoch() -> None:
    short = controls.shortened(TrainConfig(epochs=40, warmup_epochs=4), 10)
    assert (short.epochs, short.warmup_epochs, short.keep) == (10, 1.0, "best")


@pytest.mark.parametrize(("likeliest", "name"), [(0, "a"), (1, "b"), (None, "c")])
def test_the_likeliest_candidate_is_taken_and_the_last_one_where_nothing_judges(
    likeliest: int | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = iter([make_row(name, seconds=2.0) for name in "abc"])
    context = SimpleNamespace(recipe=load_recipe(None), dataset=None, folder=Path("run/seed-0"))
    monkeypatch.setattr(candidates, "train_if_time", lambda *_: next(rows))
    judgement = SimpleNamespace(most_likely=lambda _: likeliest)
    monkeypatch.setattr(candidates, "Judgement", lambda *_: judgement)
    best = candidates.best_of(context, [None] * 3, "smoothing")  # type: ignore[arg-type,list-item]
    assert (best.name, best.role, best.seconds, best.chosen) == ("smoothing", "control", 6.0, name)
