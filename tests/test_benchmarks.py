"""The benchmark scripts run: a tiny ``cft.py quality`` from a made feature file to table and JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def made_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A feature file of 3 categories where the benchmarks look for it, and their modules on the path."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((300, 12)).astype(np.float32)
    logits = features @ rng.standard_normal((12, 3)) + rng.standard_normal((300, 3))
    split = np.repeat(["fit", "select", "test"], 100)
    np.savez(
        tmp_path / "ucm_features_lite0.npz", features=features, labels=(logits > 0).astype(np.float32), split=split
    )
    monkeypatch.setenv("LABELWISE_DATA", str(tmp_path))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return tmp_path


def test_quality_reports_every_row(made_features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import cft_quality

    options = argparse.Namespace(
        cache=made_features / "cache",
        out=made_features / "quality.json",
        shares=[50],
        seeds=[0],
        methods=["auto", "full"],
        peer_results=None,
        peer_python=None,
        light=False,
        swap=True,
    )
    cft_quality.quality(options)
    table = capsys.readouterr().out
    rows = json.loads(options.out.read_text())["rows"]
    assert {row["row"] for row in rows} == {"base", "auto", "full"}
    base, full = (next(row for row in rows if row["row"] == name) for name in ("base", "full"))
    assert base["gain"] == [0.0]
    assert full["test"][0] > base["test"][0]
    assert "50 % known" in table and "auto" in table
    # Finished cells are taken up again: nothing that was timed is timed anew.
    cft_quality.quality(options)
    assert json.loads(options.out.read_text())["rows"] == rows
