"""Averaged weights that are worse than the weights: the user is told, and which of the two is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.config import load_recipe
from labelwise.data.notes import tell
from labelwise.refinery.chain import refine
from labelwise.training import fit as module


def trained(folder: Path, options: str) -> dict[str, Any]:
    """The last line of metrics of a small network on data that is easy to learn."""
    rng = np.random.default_rng(0)
    label = np.arange(150) % 3
    features = (4 * np.eye(3)[label] + rng.normal(size=(150, 3))).astype(np.float32)
    np.savez(folder / "data.npz", features=features, label=label, n_train=120)
    text = f"""
data: {{source: {folder / "data.npz"}, select_share: 0.4}}
model: {{name: mlp}}
train: {{epochs: 4, batch_size: 12, lr: 0.1, ema: 0.5{options}}}
chain: {{generations: 1}}
"""
    (folder / "r.yaml").write_text(text)
    tell.cache_clear()
    refine(load_recipe(folder / "r.yaml"), folder / "run", quiet=True)
    return json.loads((folder / "run/seed-0/generation-1/metrics.jsonl").read_text().splitlines()[-1])


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The average stays at the first weights."""
    make = module.make_average

    def stuck(model: Any, decay: float) -> Any:
        average = make(model, decay)
        if average is not None:
            monkeypatch.setattr(type(average), "update_parameters", lambda self, model: None)
        return average

    monkeypatch.setattr(module, "make_average", stuck)


@pytest.mark.parametrize("keep", ["last", "best", "best_nll"])
def test_a_bad_average_is_told(tmp_path, stale, capsys, keep):
    record = trained(tmp_path, f", keep: {keep}")
    average, own = record["select"]["top1"], record["unaveraged"]["top1"]
    assert average < 0.7 < own
    kept = "the average" if keep == "last" else "what is better"
    said = (
        f"warning: generation-1: averaged weights have top-1 {average:.3f} on select, the weights themselves {own:.3f}"
    )
    assert f"{said}; kept is {kept}" in capsys.readouterr().err
    [row] = json.loads((tmp_path / "run/results.json").read_text())["rows"]
    assert row["select"]["top1"] == pytest.approx(average if keep == "last" else own) and row["kept_epoch"] == 4


def test_a_good_average_is_kept_without_a_word(tmp_path, capsys):
    record = trained(tmp_path, ", keep: last")
    assert record["select"]["top1"] > 0.9 and "averaged" not in capsys.readouterr().err
