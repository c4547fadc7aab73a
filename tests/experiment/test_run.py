"""Cells that run at once, processes that die, test samples that differ, and tables named in odd ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import forked
from labelwise.cli import app
from labelwise.errors import ConfigError, RunError
from labelwise.experiment.config import Cell, ExperimentConfig, cell_recipe, load_experiment
from labelwise.experiment.run import identity_of, run_experiment
from labelwise.report.experiment import TableColumn, part_tables
from labelwise.results import ExperimentResults
from labelwise.results.experiment import TableCell

TINY = "recipe: {threads: 1, data: {source: digits, train_limit: 80, test_limit: 40}, views: {size: 8, flip: false},\n"
TINY += "  train: {epochs: 1, batch_size: 32}, chain: {generations: 1}}\n"


def table(folder: Path, text: str) -> ExperimentConfig:
    (folder / "t.yaml").write_text(text)
    return load_experiment(folder / "t.yaml")


def module(folder: Path, body: str) -> dict[str, str]:
    """A network ``stub:network`` of that body; the environment in which other processes find it."""
    (folder / "stub.py").write_text(f"import os, time\n\ndef network(classes, channels):\n    {body}\n")
    return dict(os.environ) | {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@pytest.mark.parametrize(
    "changes", ["rows: {a: [], b: [data.split_seed=7]}", "rows: {a: []}\nseed_keys: [seed, data.split_seed]"]
)
def test_cells_with_other_test_samples_are_refused(changes: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", features=rng.normal(size=(60, 4)).astype(np.float32), label=rng.integers(0, 2, 60))
    recipe = f"recipe: {{threads: 1, data: {{source: {tmp_path / 'x.npz'}}}, model: {{name: mlp}}, train: {{epochs: 1}}"
    found = table(tmp_path, f"{recipe}, chain: {{generations: 1}}}}\n{changes}\nseeds: 2\n")
    with pytest.raises(ConfigError, match="has other test samples than the cells before it"):
        run_experiment(found, tmp_path / "out", quiet=True)


def test_a_process_that_dies_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path, "os._exit(9)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("labelwise.experiment.run.FRESH", forked.context)  # workers need not import torch
    found = table(tmp_path, f"{TINY}rows: {{a: ['model.name=stub:network']}}\nseeds: 3\n")
    with pytest.raises(RunError, match="a process ended without a word; is there enough memory") as error:
        run_experiment(found, tmp_path / "out", jobs=2, quiet=True)
    assert "\n" not in str(error.value)


def test_nobody_trains_on_after_the_run_is_killed(tmp_path: Path) -> None:
    environment = module(tmp_path, "open(f'pid-{os.getpid()}', 'w').close(); time.sleep(100)")
    (tmp_path / "t.yaml").write_text(f"{TINY}rows: {{a: ['model.name=stub:network']}}\nseeds: 4\n")
    command = [sys.executable, "-m", "labelwise", "experiment", "t.yaml", "--out", "out", "--jobs", "2", "--quiet"]
    run = subprocess.Popen(command, cwd=tmp_path, env=environment)
    try:
        until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        workers = [int(file.name.removeprefix("pid-")) for file in tmp_path.glob("pid-*")]
        assert all(map(alive, workers))
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=60)
        until(lambda: not any(map(alive, workers)))
    finally:
        run.kill()
    assert len(list(tmp_path.glob("pid-*"))) == 2  # and none began another cell


def until(happened: Any, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def alive(process: int) -> bool:
    """Not a zombie either, which waits for an init process that a container may lack."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ("{key: data.source, values: [/data/photos, b]}", "the value '/data/photos' becomes the name of a folder"),
        ("{key: data.source, values: ['..', b]}", "becomes the name of a folder"),
        ("{key: train.epochs, values: [1, 1]}", "train.epochs has a value twice"),
        ("{columns: {'..': []}}", "becomes the name of a folder"),
    ],
)
def test_columns_stay_inside_the_folder(axis: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"axis|columns") as error:
        table(tmp_path, f"{TINY}rows: {{a: []}}\naxis: {axis}\n")
    assert message in str(error.value)


def test_what_is_where_is_no_yaml_and_no_part_of_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "recipe: {data: {source: digits}}\nrows: {a: ['data.source=${PLACE}/x.npz'], b: ['train.epochs=2']}\n"
    marks = set()
    for place in ("/data/my set #1", "/other: place"):
        monkeypatch.setenv("PLACE", place)
        found = table(tmp_path, text)
        assert cell_recipe(found, Cell("a", 0, 0)).data.source == f"{place}/x.npz"
        marks.add(identity_of(found))
    marks.add(identity_of(table(tmp_path, text.replace("{data: {source", "{threads: 2, data: {memory: 'no', source"))))
    assert len(marks) == 1
    assert identity_of(table(tmp_path, text.replace("epochs=2", "epochs=3"))) not in marks
    monkeypatch.delenv("PLACE")
    with pytest.raises(ConfigError, match="needs the environment variable PLACE"):
        table(tmp_path, text)


def test_rows_may_be_called_anything(tmp_path: Path) -> None:
    names = ["T [mixup]", r"a $\frac$ b", "[red]", ":warning: | <b>"]
    rows = ", ".join(f"'{name}': []" for name in names)
    (tmp_path / "t.yaml").write_text(f"{TINY}rows: {{{rows}}}\nseeds: 1\n")
    done = CliRunner().invoke(app, ["experiment", str(tmp_path / "t.yaml"), "--out", str(tmp_path / "out"), "--quiet"])
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in names)
    for file in ("table.svg", "report.html"):
        assert "frac" in (tmp_path / "out" / file).read_text()


def test_every_column_has_categories_of_its_own() -> None:
    score = {"test": {"mean": 0.5, "std": None}, "by_seed": [0.5]}
    place = {"column": 1, "axis": 0, "value": None, "row": "a", "head": "base", "metric": "map", "extra": {}}
    cell = TableCell.model_validate(score | place | {"categories": dict.fromkeys(("dog", "cow"), score)})
    results = ExperimentResults.model_construct(rows=("a",), heads=("base",), reference="a", categories=("cat",))
    scores, _ = part_tables(results, TableColumn(0, 1, "second", "", {("a", "base"): cell}), "categories")
    assert [column.title for column in scores.columns] == ["", "dog", "cow", "all"]
    assert [[one.value for one in scores.cells(row)] for row in scores.rows] == [["a", *["50.00"] * 3]]
