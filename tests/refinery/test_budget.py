"""`labelwise refine DATA --budget`: from data alone to the best network, continued, stopped, and refused."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelwise.config import load_recipe
from labelwise.refinery import speed as timing
from labelwise.refinery.budget import Request, facts_of, prepare_within, refine_within
from labelwise.refinery.deadline import Deadline
from labelwise.refinery.plan import Facts, Speed
from labelwise.runs import BEST, PLAN, RECIPE, RESULTS, read_json

Command = Callable[..., Any]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FEW = ("--set", "data.train_limit=200", "--set", "data.test_limit=100", "--set", "train.epochs=2")
TINY = tuple(FEW[1::2])


def request(budget: str, *more: str) -> Request:
    return Request("digits", "small-narrow", budget, (*TINY, *more))


def test_data_and_a_budget_are_enough(labelwise: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ("refine", "digits", "--model", "small-narrow", "--budget", "26epochs", *FEW, "--out", out)
    done = labelwise(*command)
    assert done.code == 0, done.err
    assert "total: " in done.out and "Best: " in done.out and "folder best" in done.out
    plan, results = read_json(out / PLAN), read_json(out / RESULTS)
    assert plan["expected"] <= 26 and plan["skipped"] == [] and (out / BEST / "model.safetensors").exists()
    trained = {row.parent.name for row in out.glob("seed-0/*/row.json")}
    assert {one["name"] for one in plan["networks"]} == trained
    assert {"early-stop", "mixup"} <= {row["name"] for row in results["rows"]}
    assert load_recipe(out / RECIPE).model_dump() == load_recipe(out / "config.yaml").model_dump()
    table = runpy.run_path(str(BENCHMARKS / "product.py"))["lines"](out, ["early-stop,mixup", "generation-1"])
    assert "product: " in table[0] and [line.split(" | ")[0] for line in table[2:]] == ["| generation-1"]
    before = {file: file.stat().st_mtime_ns for file in out.glob("seed-0/*/*")}
    again = labelwise(*command)
    assert again.code == 0 and read_json(out / RESULTS)["rows"] == results["rows"]
    assert before == {file: file.stat().st_mtime_ns for file in out.glob("seed-0/*/*")}


def test_a_plan_is_shown_and_nothing_is_written(labelwise: Command, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timing, "measure_speed", lambda *_: Speed(1e-3, 1e-4))
    command = ("refine", "digits", "--model", "small-narrow", "--budget", "9h", "--plan")
    shown = labelwise(*command)
    assert shown.code == 0 and "generation-3" in shown.out and "largest plan" in shown.out
    content = json.loads(labelwise(*command, "--json").out)
    assert content["expected"] <= 9 * 3600 and content["recipe"]["data"]["source"] == "digits"
    assert content["speed"]["train"] == 1e-3 and not list(tmp_path.iterdir())


def test_a_plan_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "measure_speed", lambda *_: Speed(1e-4, 1e-5))
    first = prepare_within(request("2s"), tmp_path / "run")
    refine_within(first, quiet=True)
    monkeypatch.setattr(timing, "measure_speed", lambda *_: pytest.fail("measured anew"))
    again = prepare_within(request("2s"), tmp_path / "run")
    assert again.content["networks"] == first.content["networks"] and again.recipe == first.recipe


@pytest.mark.parametrize(("allowed", "generations"), [(1, 1), (4, 1), (6, 2)])
def test_when_the_time_is_up_the_run_ends_with_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, generations: int
) -> None:
    """After the first length of the first network; after one member of two; after the chain, without controls."""
    asked: list[str] = []

    def allows(self: Deadline, name: str, *then: str) -> bool:
        asked.append(name)
        return len(asked) <= allowed

    monkeypatch.setattr(Deadline, "allows", allows)
    monkeypatch.setattr(timing, "measure_speed", lambda *_: Speed(1e-5, 1e-5))
    options = ("chain.members=3", "chain.generations=2", "seeds=2")
    found = refine_within(prepare_within(request("1min", *options), tmp_path / "run"), quiet=True)
    assert {(row.seed, row.role) for row in found.rows} <= {(0, "generation"), (0, "member")}
    assert len([row for row in found.rows if row.role == "generation"]) == generations
    assert found.best is not None and found.best.role == "generation"
    assert len(list((tmp_path / "run").glob("seed-*/*/row.json"))) == allowed


def test_the_speed_of_a_network_is_that_of_a_part_of_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ENOUGH", 0.01)
    ready = prepare_within(request("10s"))
    speed = Speed(**ready.content["speed"])
    assert 0 < speed.forward < speed.train < 0.1 and ready.content["expected"] <= 10
    more = timing.with_closed_forms(speed, facts_of(ready.data), 16)
    assert more.kernel_ridge > 0 and facts_of(ready.data) == Facts(180, 20, 100, side=8)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "--budget", "2h"], ["nowhere", "no such folder or file"]),
        (["digits", "--budget", "2weeks"], ["--budget 2weeks", "30min"]),
        (["recipes/digits/clean.yaml", "--budget", "2h"], ["--budget 2h", "its own recipe"]),
        (["--budget", "2h"], ["--budget 2h", "give DATA"]),
        (["recipes/digits/clean.yaml", "--model", "resnet18"], ["--model", "--budget", "model.name"]),
        (["digits", "--plan"], ["--plan", "--budget"]),
        (["digits"], ["digits", "is data", "--budget 2h"]),
        (["tests"], ["tests", "is data", "--budget 2h"]),
        (["digits", "--budget", "2h"], ["--model", "images"]),
        (["digits", "--budget", "2h", "--model", "resnt18"], ["resnt18", "did you mean"]),
        (["digits", "--budget", "2h", "--model", "kernel_ridge"], ["kernel_ridge", "no epochs"]),
        (["digits", "--budget", "9epochs", "--model", "small-narrow", "--set", "train.epoch=3"], ["train.epoch"]),
        (["digits", "--budget", "9epochs", "--model", "small-narrow", "--json"], ["--json goes with --plan"]),
    ],
)
def test_mistakes_are_one_line(labelwise: Command, monkeypatch: Any, words: list[str], told: list[str]) -> None:
    monkeypatch.setattr(timing, "published_weights", lambda *_: pytest.fail("asked for weights"))
    done = labelwise("refine", *words)
    assert done.code == 1 and len(done.err) == 1 and all(word in done.err[0] for word in told), done.err


def test_another_request_is_refused(labelwise: Command, tmp_path: Path) -> None:
    prepare = ("refine", "digits", "--model", "small-narrow", *FEW, "--quiet", "--out", tmp_path / "run")
    assert labelwise(*prepare, "--budget", "1epoch").code == 0
    done = labelwise(*prepare, "--budget", "2epochs")
    assert done.code == 1 and len(done.err) == 1 and "another budget (1epoch, now 2epochs)" in done.err[0]
    (tmp_path / "run" / PLAN).unlink()
    done = labelwise(*prepare, "--budget", "1epoch")
    assert done.code == 1 and len(done.err) == 1 and "not planned by --budget" in done.err[0]
