"""The command line on multi-label data: evaluate, predict and data stats, as the shell calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelwise.config import ModelConfig
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec

NAMES = ("cat", "dog", "[fish]")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Partly labelled images; of dogs, no negative is known."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, np.nan, -1], (160, 3), p=[0.4, 0.3, 0.2, 0.1])
    labels[labels[:, 1] == 0, 1] = np.nan
    pixels = rng.integers(0, 256, (160, 8, 8), dtype=np.uint8)
    split = np.repeat(["fit", "select", "test"], (70, 45, 45))
    np.savez(tmp_path / "pets.npz", images=pixels, labels=labels, categories=np.array(NAMES), split=split)
    return tmp_path / "pets.npz"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = zoo.build(ModelConfig(name="small-narrow"), NAMES, InputSpec("image", 8, 1, (0.5,), (0.05,)))
    checkpoint.save(tmp_path / "net", net, {"task": "multi-label"})
    return tmp_path / "net"


def test_evaluate(labelwise: Callable[..., Any], data: Path, model: Path, tmp_path: Path) -> None:
    done = labelwise("evaluate", model, "--data", data, "--json", "--out", tmp_path / "scores.json")
    assert done.code == 0, done
    found = json.loads(done.out)
    assert found == json.loads((tmp_path / "scores.json").read_text())
    assert found["task"] == "multi-label" and found["scored"] == 2 and found["tuned"]["split"] == "select"
    dog = found["categories"][1]
    assert dog["ap"] is None and dog["negatives"] == 0 and dog["tuned"]["threshold"] == 0.5
    done = labelwise("evaluate", model, "--data", data)
    assert done.code == 0, done
    assert f"pets test: mAP {found['map']:.2%}" in done.out and "over 2 of 3 categories" in done.out
    assert f"{found['left_out']['uncertain']} uncertain" in done.out and "[fish]" in done.out
    assert f"tuned on select: CP {found['tuned']['cp']:.2%}" in done.out
    [line] = [line for line in done.out.splitlines() if line.lstrip().startswith("dog")]
    assert line.count("–") == 7 and f"{dog['positives']}/0" in line


def test_the_table_fits_a_terminal_of_80_columns(
    labelwise: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, data: Path, model: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = labelwise("evaluate", model, "--data", data)
    assert done.code == 0 and "…" not in done.out and max(map(len, done.out.splitlines())) <= 80


def test_evaluate_draws_curves_and_keeps_two_files_apart(
    labelwise: Callable[..., Any], data: Path, model: Path, tmp_path: Path
) -> None:
    page, scores = tmp_path / "page.html", tmp_path / "scores.json"
    assert labelwise("evaluate", model, "--data", data, "--page", page, "--out", scores).code == 0
    names = [one["name"] for one in json.loads(scores.read_text())["curves"]]
    source = page.read_text()
    assert names and source.count('aria-label="ROC of') == source.count('aria-label="Precision against') == len(names)
    (tmp_path / "folder").mkdir()
    other = tmp_path / "folder" / ".." / "same.html"
    same = labelwise("evaluate", model, "--data", data, "--out", tmp_path / "same.html", "--page", other)
    assert same.code == 1 and len(same.err) == 1
    assert f"--page {other}: is the file of --out, too; give two different files" in same.err[0]
    assert not other.exists()


def test_evaluate_a_split_there_is_not(labelwise: Callable[..., Any], data: Path, model: Path) -> None:
    done = labelwise("evaluate", model, "--data", data, "--split", "validation")
    told = " ".join(done.err)
    assert done.code == 2 and all(word in told for word in ("--split", "'validation'", "'fit'", "'select'", "'test'"))


def test_predict(labelwise: Callable[..., Any], data: Path, model: Path, tmp_path: Path) -> None:
    done = labelwise("predict", model, data, "--out", tmp_path / "p.csv", "--top", 99)
    assert done.code == 0 and "160 images" in done.out
    head = (tmp_path / "p.csv").read_text().splitlines()[0]
    assert head == "id,positive,class_1,probability_1,class_2,probability_2,class_3,probability_3"


def test_data_stats(labelwise: Callable[..., Any], data: Path) -> None:
    done = labelwise("data", "stats", data, "--json")
    assert done.code == 0, done
    warnings = json.loads(done.out)["warnings"]
    assert warnings[0].startswith("fit: only positives are known of 1 of 3 categories ('dog')")
    done = labelwise("data", "stats", data)
    assert done.code == 0 and done.out.count("Warning: ") == len(warnings)
