"""Curves of every network reach every tracker, each in a run of its own; the trackers' modules are made up."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import labelwise
from labelwise.errors import RunError
from labelwise.training.trackers import Chain, Curves, dotted, flat

RECORD = {"epoch": 1, "lr": 0.1, "train": {"ce": 2.0}, "select": {"top1": 0.5, "nll": None}}
VALUES = {"lr": 0.1, "train/ce": 2.0, "select/top1": 0.5}
CHAIN = Chain("flowers", Path("runs/a"), {"train.lr": 0.1})
Calls = list[tuple[Any, ...]]


def made_up(told: Calls) -> dict[str, dict[str, Any]]:
    """The modules of the trackers, as far as they are used; ``told`` gets what they are told."""

    class Run:
        def __init__(self, **options: Any) -> None:
            self.name = options["name"]
            told.append(("begin", options))

        def log(self, values: dict[str, float], step: int) -> None:
            told.append((self.name, step, values))

        def finish(self, exit_code: int = 0) -> None:
            told.append(("end", self.name, exit_code))

    class Writer:
        def __init__(self, folder: str) -> None:
            self.folder = folder
            told.append(("begin", folder))

        def add_scalar(self, key: str, value: float, step: int) -> None:
            told.append((self.folder, step, {key: value}))

        def flush(self) -> None: ...

        def close(self) -> None:
            told.append(("end", self.folder))

    class Client:
        def get_experiment_by_name(self, name: str) -> Any:
            return SimpleNamespace(experiment_id="7") if ("experiment", name) in told else None

        def create_experiment(self, name: str) -> str:
            told.append(("experiment", name))
            return "7"

        def create_run(self, experiment: str, run_name: str, tags: dict[str, str] | None = None) -> Any:
            told.append(("begin", experiment, run_name, (tags or {}).get("mlflow.parentRunId")))
            return SimpleNamespace(info=SimpleNamespace(run_id=f"id of {run_name}", experiment_id=experiment))

        def log_param(self, run: str, key: str, value: Any) -> None: ...

        def log_metric(self, run: str, key: str, value: float, step: int) -> None:
            told.append((run, step, {key: value}))

        def set_terminated(self, run: str, status: str) -> None:
            told.append(("end", run, status))

    return {
        "wandb": {"init": Run},
        "trackio": {"init": Run, "finish": lambda: told.append(("end",))},
        "mlflow": {"MlflowClient": Client},
        "torch.utils.tensorboard": {"SummaryWriter": Writer},
    }


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What trackers are told; they seem to be installed."""
    told: Calls = []
    for name, content in made_up(told).items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return told


def track(name: str, networks: dict[str, int]) -> None:
    with Curves([name], CHAIN) as curves:
        for network, epochs in networks.items():
            curves.begin(network)
            for epoch in range(1, epochs + 1):
                curves.log({"epoch": epoch, "lr": 0.1})


def test_numbers_alone_are_logged_and_settings_have_dotted_keys():
    assert flat(RECORD) == VALUES
    assert dotted({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}) == {"a.b.c": 1, "a.d": "[1, 2]", "e": None}


def test_wandb_groups_the_networks_of_a_chain(calls: Calls, monkeypatch: pytest.MonkeyPatch):
    track("wandb", {"seed-0/generation-1": 2, "seed-1/generation-1": 1})
    (_, first), one, two, ended, (_, second) = calls[:5]
    assert (first["project"], first["group"], first["name"]) == ("flowers", "runs/a", "seed-0/generation-1")
    assert first["job_type"] == "generation-1" == second["job_type"] and second["name"] == "seed-1/generation-1"
    assert first["config"] == {"train.lr": 0.1, "chain": "runs/a", "network": "generation-1", "seed": "0"}
    assert [step for _, step, _ in (one, two)] == [1, 2] and ended == ("end", "seed-0/generation-1", 0)
    assert calls[5:] == [("seed-1/generation-1", 1, {"lr": 0.1}), ("end", "seed-1/generation-1", 0)]
    monkeypatch.setenv("WANDB_PROJECT", "garden")
    track("wandb", {"seed-0/generation-1": 0})
    assert calls[7][1]["project"] == "garden"


def test_trackio_names_runs_by_their_chain(calls: Calls):
    track("trackio", {"seed-0/generation-1": 1, "seed-0/generation-2": 1})
    begun = [options for what, options in (call for call in calls if call[0] == "begin")]
    assert [run["name"] for run in begun] == [f"runs/a/seed-0/generation-{i}" for i in (1, 2)]
    assert {(run["project"], run["group"]) for run in begun} == {("flowers", "runs/a")} and calls.count(("end",)) == 2


def test_tensorboard_has_a_folder_for_every_network(calls: Calls):
    track("tensorboard", {"seed-0/generation-1": 1, "seed-0/generation-2": 1})
    one, two = (f"runs/a/tensorboard/seed-0/generation-{i}" for i in (1, 2))
    assert calls == [
        ("begin", one), (one, 1, {"lr": 0.1}), ("end", one), ("begin", two), (two, 1, {"lr": 0.1}), ("end", two),
    ]  # fmt: skip


def test_mlflow_has_a_run_for_every_network_inside_that_of_the_chain(calls: Calls):
    track("mlflow", {"a": 2, "b": 1})
    assert calls == [
        ("experiment", "flowers"), ("begin", "7", "runs/a", None),
        ("begin", "7", "a", "id of runs/a"), ("id of a", 1, {"lr": 0.1}), ("id of a", 2, {"lr": 0.1}),
        ("end", "id of a", "FINISHED"), ("begin", "7", "b", "id of runs/a"), ("id of b", 1, {"lr": 0.1}),
        ("end", "id of b", "FINISHED"), ("end", "id of runs/a", "FINISHED"),
    ]  # fmt: skip
    track("mlflow", {"a": 0})
    assert calls.count(("experiment", "flowers")) == 1, "an experiment of that name is used again"


def test_a_run_that_fails_is_marked_as_failed(calls: Calls):
    def interrupted() -> None:
        with Curves(["wandb", "mlflow"], CHAIN) as curves:
            curves.begin("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ("end", "a", 1) in calls and ("end", "id of a", "FAILED") in calls
    assert calls[-1] == ("end", "id of runs/a", "FAILED")


def test_a_tracker_that_cannot_begin_is_an_error_and_one_that_breaks_later_is_left_out(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(**_: Any) -> None:
        raise ValueError("no\nconnection")

    with Curves(["wandb", "tensorboard"], CHAIN) as curves:
        curves.begin("a")
        monkeypatch.setattr(sys.modules["wandb"], "init", broken)
        curves.begin("b")
        curves.log(RECORD)
    assert capsys.readouterr().err == "wandb fails and gets no more curves: ValueError: no connection\n"
    assert [call for call in calls if call[0] == "runs/a/tensorboard/b"] != []
    with pytest.raises(RunError, match=r"train\.trackers: wandb cannot begin a run: ValueError: no connection"):
        Curves(["wandb"], CHAIN).begin("a")


def test_every_epoch_of_a_chain_arrives_also_those_before_a_kill(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = ["data={source: digits, train_limit: 60, test_limit: 20}", "chain.generations=2", "threads=1"]
    recipe = labelwise.load_recipe(
        None, [*options, "name=tiny", "train={epochs: 2, trackers: [wandb], checkpoint_seconds: 0}"]
    )

    def killed(run: Any, values: dict[str, float], step: int) -> None:
        calls.append((run.name, step, values))
        if len(calls) == 6:  # the first epoch of generation 2 is there
            raise KeyboardInterrupt

    run = sys.modules["wandb"].init
    whole = run.log
    monkeypatch.setattr(run, "log", killed)
    with pytest.raises(KeyboardInterrupt):
        labelwise.refine(recipe, tmp_path / "run", quiet=True)
    assert [call[:2] for call in calls if call[0] != "begin"] == [
        ("seed-0/generation-1", 1), ("seed-0/generation-1", 2), ("end", "seed-0/generation-1"),
        ("seed-0/generation-2", 1), ("end", "seed-0/generation-2"),
    ]  # fmt: skip
    del calls[:]
    monkeypatch.setattr(run, "log", whole)
    labelwise.refine(recipe, tmp_path / "run", quiet=True)
    assert [call[:2] for call in calls[1:]] == [
        ("seed-0/generation-2", 1), ("seed-0/generation-2", 2), ("end", "seed-0/generation-2"),
    ]  # fmt: skip
    lines = (tmp_path / "run" / "seed-0" / "generation-2" / "metrics.jsonl").read_text().splitlines()
    assert [call[2] for call in calls[1:3]] == [flat(json.loads(line)) for line in lines]
