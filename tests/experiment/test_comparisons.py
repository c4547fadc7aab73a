"""What is told across cells: columns by name, intervals of means, differences of two rows, what goes with the score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from helpers.tables import experiment_of, told_as, write_tables
from labelwise.errors import ConfigError
from labelwise.experiment.comparisons import predictions, rank_correlation
from labelwise.experiment.config import Cell, ExperimentConfig, cell_folder, cell_recipe, load_experiment
from labelwise.experiment.row_scores import mean_row
from labelwise.experiment.run import run_experiment
from labelwise.report.experiment import experiment_lines
from labelwise.report.experiment_page import experiment_markdown, experiment_panels
from labelwise.report.plots import panel_figure
from labelwise.report.read import read_folder
from labelwise.report.svg import svg_file
from labelwise.results import SeedStat, Stat
from labelwise.results.experiment import TableCell
from labelwise.runs import read_json

STUDENTS = {"narrow": ["model.args={hidden: 8}"], "wide": ["model.args={hidden: 32}", "train.lr=0.02"]}
NAMES = ["refinery.fit.top1", "refinery.test.nll"]
PAIRS = [{"row": "hard", "over": "soft"}, {"row": "best", "over": "given"}]


def experiment(folder: Path, **changes: Any) -> ExperimentConfig:
    """Two students of one refinery by three rows and two seeds, on embeddings of three overlapping classes."""
    rng = np.random.default_rng(0)
    label = np.arange(300) % 3
    features = rng.standard_normal((300, 8)) + 1.5 * np.eye(8)[label]
    np.savez(folder / "x.npz", features=features, label=label, n_train=200)
    refinery = {"model": {"name": "mlp", "args": {"hidden": 16}}, "train": {"epochs": 2}}
    recipe = {
        "threads": 1,
        "data": {"source": str(folder / "x.npz"), "select_share": 0.3},
        "model": {"name": "mlp"},
        "train": {"batch_size": 32, "epochs": 1},
        "chain": {"generations": 2, "networks": [refinery, {}]},
    }
    rows = {
        "given": ["chain={generations: 1, networks: []}"],
        "soft": [],
        "hard": ["chain.refined.kind=hard"],
        "softer": ["chain.refined.temperature=3"],
    }
    best = [{"name": "best", "rows": ["soft", "hard"]}]
    own = {"recipe": recipe, "rows": rows, "axis": {"title": "student", "columns": STUDENTS}, "seeds": 2, "best": best}
    return ExperimentConfig.model_validate(own | changes)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentConfig, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("across")
    config = experiment(folder, compare=PAIRS, score={"predictors": NAMES, "extra": ["refinery.seconds"]})
    return config, folder / "out", run_experiment(config, folder / "out", quiet=True).to_json()


def entry(results: dict[str, Any], row: str, column: int | None) -> dict[str, Any]:
    [found] = [e for e in results["table"] if (e["row"], e["column"]) == (row, column)]
    return found


def test_columns_by_name(told: tuple[ExperimentConfig, Path, dict[str, Any]]) -> None:
    config, out, results = told
    assert results["columns"] == ["student: narrow", "student: wide"]
    narrow, wide = (cell_recipe(config, Cell("soft", column, 0)) for column in (0, 1))
    assert narrow.model.args == {"hidden": 8} and wide.model.args == {"hidden": 32} and wide.train.lr == 0.02
    assert cell_folder(config, Cell("soft", 1, 0), out) == out / "cells/wide/soft/seed-0"
    refineries = [
        read_json(cell_folder(config, Cell(row, 0, 0), out) / "results.json")["rows"][0]["weights_hash"]
        for row in ("soft", "hard")
    ]
    assert refineries[0] == refineries[1]


def test_the_mean_over_columns_of_the_same_test_samples_has_an_interval(
    told: tuple[ExperimentConfig, Path, dict[str, Any]],
) -> None:
    config, out, results = told

    def right(row: str, column: int) -> np.ndarray:
        found = []
        for seed in range(2):
            folder = cell_folder(config, Cell(row, column, seed), out)
            path = read_json(folder / "results.json")["rows"][-1]["path"]
            found.append(np.load(folder / path / "predictions.npz")["correct"])
        return np.array(found, dtype=float)

    gains = np.mean([right("soft", column) - right("given", column) for column in (0, 1)], axis=0)  # (seeds, samples)
    found = entry(results, "soft", None)["over_reference"]
    assert found["gain"] == pytest.approx(gains.mean())
    by_seed, by_sample = gains.mean(axis=1), gains.mean(axis=0)
    count, seeds = len(by_sample), by_seed.var(ddof=1) / 2
    unseen, of_samples = 2 / count**2, t.ppf(0.975, count - 1)
    shared = max(0, np.cov(gains, ddof=0)[0, 1] / count + unseen)
    reach = (t.ppf(0.975, 1) * seeds + of_samples * shared) / np.sqrt(seeds + shared)
    reach = max(reach, of_samples * np.sqrt(by_sample.var() / count + unseen))
    assert found["interval"] == pytest.approx((gains.mean() - reach, gains.mean() + reach), rel=0.1, abs=0.01)
    mean_choice = entry(results, "best", None)
    chosen = [entry(results, entry(results, "best", column)["chosen"], column)["test"]["mean"] for column in (0, 1)]
    given = [entry(results, "given", column)["test"]["mean"] for column in (0, 1)]
    assert mean_choice["over_reference"]["gain"] == pytest.approx(np.mean(chosen) - np.mean(given))


def test_columns_of_other_test_samples_have_a_mean_without_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "y.npz", features=rng.standard_normal((200, 8)), label=np.arange(200) % 3, n_train=150)
    columns = {"x": [], "y": [f"data.source={tmp_path / 'y.npz'}"]}
    rows = {"given": ["chain={generations: 1, networks: []}"], "twice": ["train.epochs=2"]}
    config = experiment(tmp_path, rows=rows, axis={"columns": columns}, seeds=1, best=[])
    results = run_experiment(config, tmp_path / "out", quiet=True).to_json()
    assert results["columns"] == ["x", "y"] and "over_reference" in entry(results, "twice", 0)
    assert "over_reference" not in entry(results, "twice", None)
    text = write_tables(results, tmp_path / "out")[0].read_text()
    assert "mean over columns" in text


def test_two_rows_are_compared(told: tuple[ExperimentConfig, Path, dict[str, Any]]) -> None:
    _, out, results = told
    by_pair = {(pair["row"], pair["over"], pair["column"]): pair for pair in results["compared"]}
    assert len(by_pair) == 6
    for column in (0, 1, None):
        hard, soft = entry(results, "hard", column), entry(results, "soft", column)
        assert by_pair["hard", "soft", column]["gain"] == pytest.approx(hard["test"]["mean"] - soft["test"]["mean"])
        own, over = entry(results, "best", column)["over_reference"], by_pair["best", "given", column]
        assert over["gain"] == pytest.approx(own["gain"]) and over["interval"] == pytest.approx(own["interval"])
    markdown, _, page = write_tables(results, out)
    text = markdown.read_text()
    mean = by_pair["hard", "soft", None]
    assert told_as(mean) in text
    assert "| hard, over soft |" in text and "Compared" in page.read_text()
    assert any(line.startswith("best, mean over student: ") for line in experiment_lines(experiment_of(results)))
    assert "| best, mean over student | – | – | – |" in text


def test_a_bar_in_a_name_ends_no_cell(told: tuple[ExperimentConfig, Path, dict[str, Any]]) -> None:
    _, out, results = told
    named = json.loads(json.dumps(results).replace('"softer"', '"KL(p||q)"'))
    lines = experiment_markdown(experiment_of(named), read_folder(out)).splitlines()
    found = [line for line in lines if line.startswith(r"| KL(p\|\|q) |")]
    assert found and all(line.replace(r"\|", "").count("|") == 5 for line in found)


def test_report_tells_an_experiment_anew(
    told: tuple[ExperimentConfig, Path, dict[str, Any]], labelwise: Callable[..., Any]
) -> None:
    _, out, results = told
    pages = [path.read_bytes() for path in write_tables(results, out)]
    for path in (out / "report.html", out / "table.md"):
        path.write_text("old")
    assert labelwise("report", out).code == 0
    assert [(out / name).read_bytes() for name in ("table.md", "table.svg", "report.html")] == pages
    assert labelwise("report", out, "--markdown").out == pages[0].decode()
    refused = labelwise("report", out, out)
    assert refused.code == 1 and "an experiment is a comparison itself" in refused.err[-1] and len(refused.err) == 1


@pytest.mark.parametrize("missing", ["trained", "table", "claim"])
def test_results_that_are_not_whole(
    missing: str,
    told: tuple[ExperimentConfig, Path, dict[str, Any]],
    labelwise: Callable[..., Any],
    tmp_path: Path,
) -> None:
    _, _, results = told
    (tmp_path / "results.json").write_text(json.dumps({k: v for k, v in results.items() if k != missing}))
    (tmp_path / "report.html").write_text("old")
    for options in ([], ["--markdown"]):
        refused = labelwise("report", tmp_path, *options)
        assert refused.code == 1 and len(refused.err) == 1
        assert f"results.json: the key '{missing}' is missing; another version" in refused.err[0]
    assert (tmp_path / "report.html").read_text() == "old"


def picture(results: dict[str, Any]) -> str:
    return svg_file(panel_figure, *experiment_panels(experiment_of(results))).decode()


def test_columns_without_an_order_are_dots_row_by_row(
    told: tuple[ExperimentConfig, Path, dict[str, Any]],
) -> None:
    _, _, results = told
    dots = picture(results)
    for text in ("student: narrow", "student: wide", "mean over student", *results["rows"]):
        assert f">{text}</text>" in dots
    numbered = {"key": "train.lr", "values": [0.1, 0.2], "columns": {}, "title": "rate", "overrides": []}
    lines = picture(results | {"axis": [numbered]})
    assert ">rate</text>" in lines and ">mean over student</text>" not in lines


def test_networks_that_cells_share_are_counted_once(told: tuple[ExperimentConfig, Path, dict[str, Any]]) -> None:
    config, out, results = told
    rows = [read_json(path) for path in (out / "networks").glob("*/row.json")]
    assert results["trained"] == {
        "networks": len(rows),
        "seconds": pytest.approx(sum(r["seconds"] for r in rows), abs=0.06),
    }
    assert len(rows) == 2 * config.seeds + 2 * config.seeds * len(config.rows)  # each student has one refinery a seed
    text = write_tables(results, out)[0].read_text()
    assert f"{len(rows)} networks, trained in" in text


def test_what_goes_with_the_score(told: tuple[ExperimentConfig, Path, dict[str, Any]]) -> None:
    config, out, results = told
    by_place = {(found["name"], found["column"]): found for found in results["predicted"]}
    assert set(by_place) == {(name, column) for name in NAMES for column in (0, 1)}
    for (name, column), found in by_place.items():
        assert found["rows"] == 3  # the row of given labels has no refinery
        *_, split, key = name.split(".")
        for seed in range(2):
            numbers, scores = [], []
            for row in ("soft", "hard", "softer"):
                rows = read_json(cell_folder(config, Cell(row, column, seed), out) / "results.json")["rows"]
                numbers.append(rows[0][split][key])
                scores.append(rows[1]["test"]["top1"])
            assert rows[1]["refineries"] == ["generation-1"] and rows[0]["refineries"] == []
            assert len(set(numbers)) == 1 and found["correlation"]["by_seed"][seed] is None  # one refinery for all
    assert entry(results, "soft", 0)["extra"]["refinery.seconds"]["mean"] > 0
    text = write_tables(results, out)[0].read_text()
    assert "**What goes with the score**" in text and "| refinery.fit.top1 | – (3 rows) | – (3 rows) |" in text


def test_a_correlation_is_over_the_rows_of_a_seed(tmp_path: Path) -> None:
    config = experiment(tmp_path, axis={}, score={"predictors": ["n"]})
    numbers = {"given": [None, None], "soft": [1.0, 1.0], "hard": [2.0, 3.0], "softer": [3.0, 2.0]}
    scores = {"given": [0.9, 0.9], "soft": [0.1, 0.1], "hard": [0.2, 0.2], "softer": [0.4, 0.3], "best": [0.0, 0.0]}
    place: dict[str, Any] = {"column": 0, "axis": 0, "value": None, "head": "base", "metric": "top1"}
    table = [
        TableCell(**place, row=row, test=Stat.unknown(), by_seed=own, extra={"n": SeedStat.of(numbers.get(row, own))})
        for row, own in scores.items()
    ]
    [found] = predictions(config, table)
    assert found.rows == 3 and found.correlation.by_seed == pytest.approx((1.0, 0.5))
    assert found.correlation.mean == pytest.approx(0.75)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_rank_correlation_against_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    found = rank_correlation(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_mean_of_several_refineries() -> None:
    rows = [{"a": 1, "fit": {"x": 0.5, "y": None}, "name": "n"}, {"a": 2.5, "fit": {"x": 1.5, "y": 1.0}, "name": "m"}]
    assert mean_row(rows) == {"a": 1.75, "fit": {"x": 1.0}}


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"axis": {"key": "seed", "values": [1], "columns": {"a": []}}}, "give key and values, or columns, not both"),
    ({"axis": {"columns": {"a/b": []}}}, "columns: 'a/b' becomes the name of a folder"),
    ({"axis": {"columns": {"a": ["train.epoch=1"]}}}, "train.epoch"),
    (
        {"compare": [{"row": "soft", "over": "nothing"}]},
        "compare: 'nothing' is none of given, soft, hard, softer, best",
    ),
    ({"score": {"predictors": ["a", "a"]}}, "a score is named twice"),
    ({"score": {"predictors": ["a b"]}}, "'a b' is no name of a score"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_mistakes(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    good = experiment(tmp_path).model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "e.yaml").write_text(json.dumps(good | changes))
    with pytest.raises(ConfigError) as error:
        load_experiment(tmp_path / "e.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)
