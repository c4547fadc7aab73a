"""No command writes where something else is: it says so in one line and leaves everything as it was."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise import demo, pipeline
from labelwise.cft.run import run_cft
from labelwise.config import CftConfig, load_recipe

TINY = ("threads=1", "views.size=8", "train={epochs: 1, batch_size: 128}", "model.name=small-narrow")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs of category-wise fine-tuning, the network of one, its features and its data."""
    out = tmp_path_factory.mktemp("runs")
    demo.write_digit_attributes(out / "data.npz", 0.3, seed=3)
    pipeline.train_and_fine_tune(load_recipe(None, [*TINY, f"data.source={out / 'data.npz'}"]), out / "a", quiet=True)
    features = out / "a" / "data"
    run_cft(CftConfig(features=str(features), objective="ap", preset="fast", draws=100), out / "b", quiet=True)
    (out / "notes").mkdir()
    (out / "notes" / "notes.txt").write_text("mine")
    (out / "table.yaml").write_text("rows: {plain: []}\nrecipe: {data: {source: digits}}\n")
    names = {"a": out / "a", "b": out / "b", "network": out / "a" / "ignore", "features": features}
    return names | {"data": out / "data.npz", "notes": out / "notes", "table": out / "table.yaml"}


COMMANDS = {
    "refine": ("refine", "--quiet", "--out", "{out}"),
    "train": ("train", "--quiet", "--out", "{out}"),
    "demo": ("demo", "--out", "{out}"),
    "features": ("features", "{network}", "--data", "{data}", "--out", "{out}"),
    "cft": ("cft", "{features}", "--objective", "auc", "--out", "{out}"),
    "ensemble": ("ensemble", "{a}", "{b}", "--out", "{out}"),
    "experiment": ("experiment", "{table}", "--out", "{out}"),
    "export": ("export", "{network}", "--out", "{out}"),
    "evaluate": ("evaluate", "{network}", "--data", "{data}", "--out", "{out}"),
    "evaluate, a file": ("evaluate", "{network}", "--data", "{data}", "--out", "{file}"),
    "evaluate, a page": ("evaluate", "{network}", "--data", "{data}", "--page", "{file}"),
    "predict": ("predict", "{network}", "{data}", "--out", "{file}"),
    "report": ("report", "{a}", "{b}", "--out", "{file}"),
}


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("target", ["a", "network", "notes"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_holds_something_else_is_left_as_it_was(
    runs: dict[str, Path], labelwise: Callable[..., Any], command: str, target: str
) -> None:
    folder = runs[target]
    file = {"a": "run.json", "network": "row.json", "notes": "notes.txt"}[target]
    before = contents(folder)
    arguments = [part.format(out=folder, file=folder / file, **runs) for part in COMMANDS[command]]
    done = labelwise(*arguments)
    assert done.code == 1 and len(done.err) == 1, done
    assert str(folder) in done.err[0] and "error: " in done.err[0]
    assert contents(folder) == before


def test_a_member_of_an_ensemble_stays_a_run(
    runs: dict[str, Path], labelwise: Callable[..., Any], tmp_path: Path
) -> None:
    done = labelwise("ensemble", runs["a"], runs["b"], "--out", runs["a"])
    assert done.code == 1 and "holds a run of `labelwise cft`; give another --out" in done.err[0]
    exported = labelwise("export", runs["a"], "--model", runs["a"] / "assume-negative", "--out", tmp_path / "exported")
    assert exported.code == 0
    again = labelwise("export", runs["a"], "--model", runs["a"] / "assume-negative", "--out", tmp_path / "exported")
    assert again.code == 0  # an earlier export is replaced


def test_own_files_are_replaced(runs: dict[str, Path], labelwise: Callable[..., Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros((3, 8, 8), np.uint8))
    for _ in range(2):
        files = ("--out", tmp_path / "scores.json", "--page", tmp_path / "scores.html")
        scores = labelwise("evaluate", runs["network"], "--data", runs["data"], *files)
        assert scores.code == 0, scores.err
        for name in ("named.csv", "named.json"):
            assert labelwise("predict", runs["network"], tmp_path / "images.npz", "--out", tmp_path / name).code == 0
        assert labelwise("ensemble", runs["a"], runs["b"], "--out", tmp_path / "both").code == 0


def test_a_run_beside_another_one_keeps_both(
    runs: dict[str, Path], labelwise: Callable[..., Any], tmp_path: Path
) -> None:
    """A folder inside a run is a folder of its own, as the second half of the demonstration is."""
    shutil.copytree(runs["a"], tmp_path / "a")
    before = contents(tmp_path / "a")
    assert labelwise("ensemble", runs["a"], runs["b"], "--out", tmp_path / "a" / "both").code == 0
    assert before.items() <= contents(tmp_path / "a").items()
