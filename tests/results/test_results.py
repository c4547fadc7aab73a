"""Every kind of results is a type: what real runs write is read back as it was, other content is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from helpers.results_file import write_results
from labelwise import demo, pipeline
from labelwise.cft.ensemble import EnsembleConfig, run_ensemble
from labelwise.cft.run import run_cft
from labelwise.config import CftConfig, Recipe, load_recipe
from labelwise.errors import RunError
from labelwise.refinery.chain import refine, train
from labelwise.results import (
    CftResults,
    EnsembleResults,
    ExperimentResults,
    FeaturesResults,
    RefineResults,
    Row,
    SeedStat,
    Stat,
    best_on_select,
    open_run,
    parse_results,
    read_results,
    summarise,
)
from labelwise.runs import read_json

TABLES = sorted((Path(__file__).parents[2] / "docs" / "results" / "tables").glob("*.json"))
TINY = ("threads=1", "views.size=8", "train={epochs: 2, batch_size: 128}", "model.name=small-narrow")


def recipe(*changes: str) -> Recipe:
    return load_recipe(None, [*TINY, *changes])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of every kind that has a folder."""
    out = tmp_path_factory.mktemp("runs")
    chain = "chain={generations: 2, members: 2, first: early_stop}"
    baselines = "baselines={early_stop_epochs: [1, 2], smoothing: [0.1]}"
    digits = recipe("data={source: digits, select_share: 0.25, noise: {rate: 0.4}}", chain, baselines, "seeds=2")
    refine(digits, out / "refine", baselines=True, quiet=True)
    train(recipe("data={source: digits, select_share: 0}"), out / "train", quiet=True)
    demo.write_digit_attributes(out / "data.npz", 0.3, seed=3)
    partial = recipe(f"data.source={out / 'data.npz'}")
    refine(partial, out / "partial", quiet=True)
    pipeline.train_and_fine_tune(partial, out / "cft", quiet=True)
    options: dict[str, Any] = {"features": str(out / "cft" / "data"), "preset": "fast", "draws": 100}
    run_cft(CftConfig(objective="auc", threshold="max-f1", **options), out / "auc", quiet=True)
    run_cft(CftConfig(objective="ap", **options), out / "fast", quiet=True)
    run_ensemble([out / "cft", out / "fast"], out / "ensemble", EnsembleConfig())
    kinds = {name: out / name for name in ("refine", "train", "partial", "cft", "auc", "ensemble")}
    return kinds | {"features": out / "cft" / "data"}


KINDS = {
    "refine": RefineResults,
    "train": RefineResults,
    "partial": RefineResults,
    "cft": CftResults,
    "auc": CftResults,
    "ensemble": EnsembleResults,
    "features": FeaturesResults,
}


@pytest.mark.parametrize("name", KINDS)
def test_a_real_run_is_read_and_written_back_as_it_was(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    run = open_run(folders[name])
    assert type(run.results) is KINDS[name]
    assert run.facts == read_json(folders[name] / "run.json") and run.facts["kind"] == run.results.kind
    write_results(tmp_path, run.results)
    assert read_json(tmp_path / "results.json") == read_json(folders[name] / "results.json")


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_the_tables_of_the_documentation_are_results(table: Path) -> None:
    content = read_json(table)
    found = parse_results(content, table)
    assert isinstance(found, ExperimentResults) and found.to_json() == content


def test_the_row_of_a_network_is_its_row_json(folders: dict[str, Path]) -> None:
    found = read_results(folders["refine"])
    assert isinstance(found, RefineResults) and found.metric == "top1"
    for row in found.rows:
        if row.role in ("generation", "member") and row.to_the_end is None:
            assert Row.model_validate(read_json(folders["refine"] / row.path / "row.json")) == row
    first = found.rows[0]
    assert first.to_the_end is not None and first.to_the_end.epoch == 2
    assert {row.role for row in found.rows} == {"generation", "member", "control"}


def test_means_over_seeds_are_those_of_the_rows(folders: dict[str, Path]) -> None:
    found = read_results(folders["refine"])
    assert isinstance(found, RefineResults) and summarise(found.rows) == found.summary
    [second] = [entry for entry in found.summary if entry.name == "generation-2"]
    rows = [row for row in found.rows if row.name == "generation-2"]
    top1 = [row.test.top1 for row in rows if row.test is not None]
    assert second.test_top1 is not None and second.test_top1.mean == pytest.approx(np.mean(top1))
    auroc = [row.fit.noise_auroc for row in rows]
    assert second.noise_auroc is not None and second.noise_auroc.mean == pytest.approx(np.mean(auroc))
    assert second.test_map is None and second.seeds == 2


def corrupted(folder: Path, out: Path, change: Any) -> Path:
    content = read_json(folder / "results.json")
    change(content)
    (out / "results.json").write_text(json.dumps(content))
    return out


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("refine", lambda c: c["rows"][0]["test"].update(top7=1), r"the key 'rows\.0\.test\.top7' is unknown"),
        ("refine", lambda c: c["rows"][1].pop("seconds"), r"the key 'rows\.1\.seconds' is missing"),
        ("refine", lambda c: c["rows"][1].update(epochs="3"), r"rows\.1\.epochs: expected a valid integer, got '3'"),
        ("refine", lambda c: c["rows"][0]["test"].update(nll=True), r"rows\.0\.test\.nll: expected a valid number"),
        (
            "refine",
            lambda c: c["rows"][1].update(seconds=None),
            r"rows\.1\.seconds: expected a valid number, got",
        ),
        ("cft", lambda c: c["categories"][2].pop("reason"), r"the key 'categories\.2\.reason' is missing"),
        ("cft", lambda c: c["categories"][2].update(status="better"), r"categories\.2\.status: expected 'improved', "),
        ("ensemble", lambda c: c.update(of=2), r"the key 'of' is unknown"),
        ("features", lambda c: c.pop("dim"), r"the key 'dim' is missing"),
        ("features", lambda c: c.update(kind="shape"), r"has kind 'shape', expected one of refine, "),
        ("cft", lambda c: c.update(schema=9), r"has schema 9, this version of labelwise reads schema 1"),
        ("cft", lambda c: c.pop("schema"), r"has schema None"),
    ],
)
def test_other_content_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, name: str, change: Any, message: str
) -> None:
    with pytest.raises(RunError, match=message) as caught:
        read_results(corrupted(folders[name], tmp_path, change))
    assert str(caught.value).startswith(str(tmp_path / "results.json")) and "\n" not in str(caught.value)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such folder"):
        open_run(tmp_path / "none")
    with pytest.raises(RunError, match="the run has not finished, or this is no run folder"):
        open_run(tmp_path)
    (tmp_path / "results.json").write_text("[1]")
    with pytest.raises(RunError, match="expected a mapping of results, got list"):
        open_run(tmp_path)


def test_a_number_that_is_none_is_null_in_the_file(folders: dict[str, Path], tmp_path: Path) -> None:
    found = read_results(folders["cft"])
    assert isinstance(found, CftResults)
    category = found.categories[0]
    score = type(category.select)(before=math.nan, after=math.inf, positives=0, negatives=3)
    assert score.before is None and score.after is None and score.gain is None
    changed = category.model_copy(update={"select": score})
    write_results(tmp_path, found.model_copy(update={"categories": (changed, *found.categories[1:])}))
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["categories"][0]["select"] == {
        "before": None,
        "after": None,
        "positives": 0,
        "negatives": 3,
    }
    again = read_results(tmp_path)
    assert isinstance(again, CftResults) and again.categories[0].select == score
    with_nan = text.replace('"before": null', '"before": NaN')  # as Python's own json writes it
    (tmp_path / "results.json").write_text(with_nan)
    assert read_results(tmp_path) == again


def test_a_record_is_closed_and_frozen() -> None:
    with pytest.raises(ValidationError):
        Stat(mean=1.0, std=0.0, median=1.0)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Stat(mean=1.0)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Stat(mean=1.0, std=None).mean = 2.0  # type: ignore[misc]


def test_mean_and_deviation_over_seeds() -> None:
    assert Stat.over([1.0, None, 3.0, math.nan]) == Stat(mean=2.0, std=math.sqrt(2))
    assert Stat.over([5.0]) == Stat(mean=5.0, std=None)
    assert Stat.over([None]) is None
    assert SeedStat.of([1.0, None]) == SeedStat(mean=1.0, std=None, by_seed=(1.0, None))
    assert SeedStat.of([None]).mean is None


def test_the_best_on_select_is_the_first_of_equals_and_ties_can_be_broken() -> None:
    scores = {"a": (0.5, 1.0), "b": (0.7, 1.0), "c": (0.7, 2.0), "d": (None, 9.0)}
    assert best_on_select(scores, lambda name: scores[name][0]) == "b"
    assert best_on_select(scores, lambda name: scores[name][0], lambda name: scores[name][1]) == "c"
    assert best_on_select(["d"], lambda name: scores[name][0]) is None
    assert best_on_select([], lambda name: 1.0) is None


def test_results_are_read_without_torch() -> None:
    code = "import sys, labelwise.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
