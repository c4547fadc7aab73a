"""The controls: shorter and longer schedules of the same regime, and which candidate is chosen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from helpers.rows import make_row
from labelwise.config import TrainConfig
from labelwise.config.train import parse_lr_steps
from labelwise.refinery import chain, controls
from labelwise.results import Row

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


def candidate(name: str, top1: float | None, nll: float | None = 1.0) -> Row:
    return make_row(name, top1=top1, nll=nll, seconds=2.0)


def chosen(*candidates: Row) -> str:
    rows = iter(candidates)

    context = SimpleNamespace(problem=SimpleNamespace(metric="top1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "train_network", lambda *_: next(rows))
        best = chain._best(context, [None] * len(candidates), "smoothing")  # type: ignore[arg-type]
    assert (best.name, best.role, best.seconds) == ("smoothing", "control", 2.0 * len(candidates))
    return str(best.chosen)


def test_the_candidate_that_is_best_on_select_is_chosen() -> None:
    assert chosen(candidate("a", 0.5), candidate("b", 0.7), candidate("c", 0.6)) == "b"
    assert chosen(candidate("a", 0.5, 0.9), candidate("b", 0.5, 0.8), candidate("c", 0.5, None)) == "b"
    assert chosen(candidate("a", None, 0.1), candidate("b", 0.1)) == "b"
    assert chosen(candidate("a", None, 0.1), candidate("b", None, 0.2)) == "a"


def test_without_a_select_split_the_last_candidate_is_taken() -> None:
    assert chosen(make_row("a", select=None, seconds=2.0), make_row("b", select=None, seconds=2.0)) == "b"
