"""Curves of every network reach every tracker, each from its first epoch on."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from labelwise.training import trackers
from labelwise.training.trackers import flat, log_epoch

RECORD = {"epoch": 1, "lr": 0.1, "train": {"ce": 2.0}, "select": {"top1": 0.5, "nll": None}}


class Tracker:
    """Like one of accelerate; ``kept`` is what a tracker with one rising axis of steps would show."""

    def __init__(self, name: str) -> None:
        self.name, self.tracker, self.axes, self.logged = name, self, {}, []  # type: ignore[var-annotated]

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes[name] = step_metric

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        self.logged.append((values, step))

    def finish(self) -> None:
        self.logged.append("end")


def test_numbers_alone_are_logged():
    assert flat(RECORD) == {"lr": 0.1, "train/ce": 2.0, "select/top1": 0.5}


def test_wandb_has_an_axis_for_every_network_and_no_step_that_goes_back():
    wandb = Tracker("wandb")
    for network in ("seed-0/generation-1", "seed-0/generation-2"):
        for epoch in (1, 2):
            log_epoch([wandb], network, {**RECORD, "epoch": epoch})
    assert wandb.axes == {f"seed-0/generation-{i}/*": f"seed-0/generation-{i}/epoch" for i in (1, 2)}
    assert [step for _, step in wandb.logged] == [None] * 4
    assert [values.get("seed-0/generation-2/epoch") for values, _ in wandb.logged] == [None, None, 1, 2]
    assert wandb.logged[2][0]["seed-0/generation-2/train/ce"] == 2.0


def test_tensorboard_has_the_epoch_as_step():
    tensorboard = Tracker("tensorboard")
    log_epoch([tensorboard], "seed-0/a", {**RECORD, "epoch": 3})
    [(values, step)] = tensorboard.logged
    assert step == 3 and values == {"seed-0/a/lr": 0.1, "seed-0/a/train/ce": 2.0, "seed-0/a/select/top1": 0.5}


def test_mlflow_has_a_run_for_every_network_inside_that_of_the_chain(monkeypatch: pytest.MonkeyPatch):
    calls: list[Any] = []

    class Client:
        def create_run(self, experiment: str, tags: dict[str, str]) -> Any:
            calls.append(("create", experiment, tags["mlflow.parentRunId"], tags["mlflow.runName"]))
            return SimpleNamespace(info=SimpleNamespace(run_id=f"run-{len(calls)}"))

        def log_metric(self, run: str, key: str, value: float, step: int) -> None:
            calls.append((run, key, value, step))

        def set_terminated(self, run: str) -> None:
            calls.append(("end", run))

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client))
    mlflow = Tracker("mlflow")
    mlflow.info = SimpleNamespace(run_id="chain", experiment_id="7")  # type: ignore[attr-defined]
    for network, epoch in (("a", 1), ("a", 2), ("b", 1)):
        log_epoch([mlflow], network, {"epoch": epoch, "lr": 0.1})
    trackers.finish([mlflow])
    a, b = "run-1", "run-4"
    assert calls == [
        ("create", "7", "chain", "a"), (a, "lr", 0.1, 1), (a, "lr", 0.1, 2),
        ("create", "7", "chain", "b"), (b, "lr", 0.1, 1), ("end", a), ("end", b),
    ]  # fmt: skip
    assert mlflow.logged == ["end"]
