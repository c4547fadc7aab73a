"""A table of tiny trainings: what is in a cell, that it goes on where it was stopped, and mistakes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.tables import experiment_of, told_as, write_tables
from labelwise.errors import ConfigError, RunError
from labelwise.experiment.config import Cell, ExperimentConfig, cell_recipe, load_experiment
from labelwise.experiment.run import run_experiment
from labelwise.experiment.table import make_table
from labelwise.report.experiment import experiment_lines
from labelwise.report.experiment_page import experiment_markdown
from labelwise.report.read import read_folder

TABLES = sorted((Path(__file__).parents[2] / "recipes" / "tables").glob("*.yaml"))


def yaml(data: str, **changes: str) -> str:
    lines = {
        "name": "tiny",
        "recipe": f"{{threads: 1, data: {{source: {data}, train_limit: 200}}, views: {{size: 8, flip: false}},"
        " train: {epochs: 1, batch_size: 64}, chain: {generations: 1}}",
        "axis": "{key: data.known.share, values: [0.5, 1.0], title: known}",
        "rows": "{ignore: [data.known.protocol=cells], assume: [data.known.protocol=cells, labels.unknown=negative]}",
        "seed_keys": "[seed, data.known.seed]",
        "seeds": "2",
        "heads": "{auto: {preset: fast, draws: 100}}",
    }
    return "\n".join(f"{key}: {value}" for key, value in (lines | changes).items() if value)


@pytest.fixture(scope="module")
def data(digit_attributes: Path) -> Path:
    return digit_attributes


def config(data: Path, folder: Path, **changes: str) -> ExperimentConfig:
    (folder / "tiny.yaml").write_text(yaml(str(data), **changes))
    return load_experiment(folder / "tiny.yaml")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentConfig, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("table")
    found = config(data, folder)
    return found, folder / "out", run_experiment(found, folder / "out", quiet=True).to_json()


def entry(results: dict[str, Any], row: str, head: str, column: int | None) -> dict[str, Any]:
    [found] = [e for e in results["table"] if (e["row"], e["head"], e["column"]) == (row, head, column)]
    return found


def test_every_cell_is_the_run_it_says(finished: tuple[ExperimentConfig, Path, dict[str, Any]]) -> None:
    _, out, results = finished
    assert results["kind"] == "experiment" and results["heads"] == ["base", "auto"] and results["seeds"] == 2
    assert len(results["table"]) == 2 * 2 * (2 + 1)
    for row in ("ignore", "assume"):
        for column, share in enumerate((0.5, 1.0)):
            folders = [out / "cells" / str(share) / row / f"seed-{seed}" for seed in range(2)]
            runs = [json.loads((folder / "results.json").read_text())["rows"][-1] for folder in folders]
            tests = [run["test"]["map"] for run in runs]
            assert runs[0]["weights_hash"] != runs[1]["weights_hash"]
            found = entry(results, row, "base", column)
            assert found["by_seed"] == tests and found["metric"] == "map"
            assert found["test"]["mean"] == pytest.approx(np.mean(tests))
            assert found["test"]["std"] == pytest.approx(np.std(tests, ddof=1))
            heads = [json.loads((folder / "cft-auto" / "results.json").read_text()) for folder in folders]
            tuned = entry(results, row, "auto", column)
            assert tuned["by_seed"] == [head["mean"]["test"]["after"] for head in heads]
            gain = np.mean(tuned["by_seed"]) - np.mean(found["by_seed"])
            assert tuned["over_base"]["gain"] == pytest.approx(gain, abs=1e-6)
            assert tuned["over_base"]["interval"][0] <= gain <= tuned["over_base"]["interval"][1]


def test_comparisons_and_means(finished: tuple[ExperimentConfig, Path, dict[str, Any]]) -> None:
    _, _, results = finished
    first, second = entry(results, "ignore", "base", 0), entry(results, "assume", "base", 0)
    assert "over_reference" not in first and "over_base" not in first
    expected = second["test"]["mean"] - first["test"]["mean"]
    assert second["over_reference"]["gain"] == pytest.approx(expected, abs=1e-6)
    for row in ("ignore", "assume"):
        by_seed = np.mean([entry(results, row, "auto", column)["by_seed"] for column in (0, 1)], axis=0)
        assert entry(results, row, "auto", None)["by_seed"] == pytest.approx(by_seed.tolist())
    # With everything known nothing is assumed: the two rows are one training.
    assert entry(results, "assume", "base", 1)["by_seed"] == entry(results, "ignore", "base", 1)["by_seed"]


def test_goes_on_where_it_was_stopped(
    finished: tuple[ExperimentConfig, Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out, results = finished
    copy = Path(shutil.copytree(out, tmp_path / "out"))
    (copy / "results.json").unlink()
    shutil.rmtree(copy / "cells" / "0.5" / "assume" / "seed-1")
    stamps = {path: path.stat().st_mtime_ns for path in copy.rglob("model.safetensors")}
    again = run_experiment(config, copy, quiet=True).to_json()
    assert [{**e, "seconds": None} for e in again["table"]] == [{**e, "seconds": None} for e in results["table"]]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("ran again")

    monkeypatch.setattr("labelwise.refinery.network.fit", refuse)
    assert run_experiment(config, copy, quiet=True).to_json()["table"] == again["table"]


def test_tables_are_written(finished: tuple[ExperimentConfig, Path, dict[str, Any]]) -> None:
    _, out, results = finished
    markdown, picture, page = write_tables(results, out)
    text = markdown.read_text()
    mean = entry(results, "assume", "auto", 0)["test"]
    assert f"{100 * mean['mean']:.2f} ± {100 * mean['std']:.2f}" in text and "**known 0.5**" in text
    assert told_as(entry(results, "assume", "base", 0)["over_reference"]) in text
    assert picture.read_bytes() == write_tables(results, out)[1].read_bytes() and b"assume" in picture.read_bytes()
    assert "<svg" in page.read_text() and "<h2>known 0.5</h2>" in page.read_text()
    assert "mean over known" in experiment_lines(experiment_of(results))[0]
    assert experiment_markdown(experiment_of(results), read_folder(out)) == text


def test_further_scores_of_multi_label_networks(
    finished: tuple[ExperimentConfig, Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    _, out, _ = finished
    extra = "{extra: [test.mauc, fit.hidden_map, seconds]}"
    best = "[{name: best, rows: [assume, ignore]}]"
    found = make_table(config(data, tmp_path, score=extra, best=best), out).to_json()
    assert found["extra"] == ["test.mauc", "fit.hidden_map", "seconds"]
    assert found["best"] == [{"name": "best", "rows": ["assume", "ignore"], "reference": "ignore"}]
    runs = [json.loads((out / f"cells/0.5/assume/seed-{s}/results.json").read_text())["rows"][-1] for s in (0, 1)]
    own = entry(found, "assume", "base", 0)["extra"]
    assert own["test.mauc"]["by_seed"] == [run["test"]["mauc"] for run in runs]
    assert own["fit.hidden_map"]["by_seed"] == [run["fit"]["hidden_map"] for run in runs]
    assert entry(found, "assume", "base", 1)["extra"]["fit.hidden_map"]["mean"] is None  # nothing is hidden
    assert entry(found, "assume", "auto", 0)["extra"] == {}
    chosen = entry(found, "best", "base", 0)
    select = {row: entry(found, row, "base", 0)["select"]["mean"] for row in ("assume", "ignore")}
    assert chosen["chosen"] == max(select, key=select.__getitem__)
    text = experiment_markdown(experiment_of(found), read_folder(out))
    assert "|  | base | auto | test.mauc, % | fit.hidden_map, % | seconds |" in text
    assert f"| {100 * own['test.mauc']['mean']:.2f} ± {100 * own['test.mauc']['std']:.2f} |" in text


def test_seeds_count_up_from_the_recipe_s(data: Path, tmp_path: Path) -> None:
    found = config(data, tmp_path, recipe=f"{{seed: 7, data: {{source: {data}, known: {{seed: 20}}}}}}")
    recipe = cell_recipe(found, Cell("assume", 1, 2))
    assert (recipe.seed, recipe.data.known.seed, recipe.seeds) == (9, 22, 1)
    assert recipe.data.known.share == 1.0 and recipe.labels.unknown == "negative"


def test_single_label_data_have_a_table_too(tmp_path: Path) -> None:
    found = config(
        Path("digits"),
        tmp_path,
        axis="{key: train.epochs, values: [1, 2]}",
        rows="{plain: [], smoothed: [train.label_smoothing=0.1]}",
        seed_keys="[seed]",
        seeds="1",
        heads="",
    )
    results = run_experiment(found, tmp_path / "out", quiet=True).to_json()
    assert {e["metric"] for e in results["table"]} == {"top1"} and results["heads"] == ["base"]
    assert entry(results, "smoothed", "base", 1)["over_reference"]["interval"][0] <= 1
    assert "train.epochs 2" in write_tables(results, tmp_path / "out")[0].read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": "{a: [labels.unknwon=negative]}"}, "unknwon"),
        ({"axis": "{key: data.nothing, values: [1]}"}, "nothing"),
        ({"axis": "{key: data.known.share, values: [2.0]}"}, "data.known.share"),
        ({"heads": "{auto: {methd: auto}}"}, "methd"),
        ({"heads": "{base: {}}"}, "is the network itself"),
        ({"heads": "{a: {objective: ap}, b: {objective: auc}}"}, "same objective"),
        ({"reference": "nobody"}, "is not one of the rows"),
        ({"seed_keys": "[name]"}, "is no whole number"),
        ({"rows": "{}"}, "rows"),
    ],
)
def test_mistakes_are_found_before_anything_runs(
    changes: dict[str, str], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        config(data, tmp_path, **changes)
    assert "\n" not in str(error.value)


COLUMNS = "name: t\nrecipe: {chain: {generations: 1}}\nrows: {a: [], b: [train.lr=0.1]}\n"
COLUMNS += "axis: {key: data.known, values: [{share: 0.1}, {share: 0.2}]}\n"


@pytest.mark.parametrize(
    "override", ["recipe.data.known={share: 0.5}", "recipe.data.known.share=0.5", "recipe.seeds=2"]
)
def test_an_override_that_every_cell_overrides_again_is_refused(override: str, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(COLUMNS)
    with pytest.raises(ConfigError, match=r"^--set recipe\..*has no effect") as error:
        load_experiment(tmp_path / "t.yaml", [override])
    assert "\n" not in str(error.value)


def test_an_override_that_some_cell_heeds_is_taken(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(COLUMNS)
    found = load_experiment(tmp_path / "t.yaml", ["recipe.train.lr=0.5", "seeds=1"])
    assert [cell_recipe(found, Cell(row, 0, 0)).train.lr for row in "ab"] == [0.5, 0.1]


def test_a_mistake_in_a_whole_table_is_not_called_a_recipe_s(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(f"{COLUMNS}reference: nobody\n")
    with pytest.raises(ConfigError, match=r"^reference: 'nobody' is not one of the rows a, b$"):
        load_experiment(tmp_path / "t.yaml")


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_tables_of_the_repository_can_be_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = re.match(r"# (LABELWISE_\w+)=DIR labelwise experiment recipes/tables/(\S+) --out ", path.read_text())
    assert command is not None and command[2] == path.name
    monkeypatch.setenv(command[1], "somewhere")
    found = load_experiment(path)
    assert found.name.replace("-", "_") == path.stem and found.description


def test_another_experiment_in_the_folder(
    finished: tuple[ExperimentConfig, Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    _, out, _ = finished
    with pytest.raises(RunError, match="holds a run with another experiment"):
        run_experiment(config(data, tmp_path, rows="{ignore: [], assume: []}"), out, quiet=True)
