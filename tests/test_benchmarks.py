"""The benchmark scripts run, each in small, from made data to table and JSON."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from labelwise.config import TrainConfig
from labelwise.training.fit import learning_rate

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


@pytest.fixture
def made_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 160 tiny images of ten colours where ``distill.py`` looks for them, and its modules on the path."""
    rng = np.random.default_rng(0)
    label = np.arange(160) % 10
    colours = rng.integers(0, 200, (10, 1, 1, 3))
    images = (colours[label] + rng.integers(0, 50, (160, 8, 8, 3))).astype(np.uint8)
    classes = np.array([f"colour {k}" for k in range(10)])
    np.savez(tmp_path / "cifar10_jpeg.npz", images=images, label=label, n_train=np.array(120), classes=classes)
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return tmp_path


def test_distill_gives_every_engine_the_same_job(made_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with labelwise in torchdistill's place: the same job must then end in the same student."""
    import distill
    import distill_labelwise
    import distill_timm
    from distill_rows import REFINED, Row, markdown
    from peers import distill_job

    trainers = {"labelwise": distill_labelwise.train, "timm": distill_timm.train}

    class Here:
        def __init__(self, engine: str, python: Path, core: int | None) -> None:
            self.train = trainers.get(engine, distill_labelwise.train)

        def __call__(self, source: Path, target: Path) -> None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(f"{source}\t{target}\n"))
            distill_job.serve(self.train, ("numpy",))

        def close(self) -> None:
            pass

    engines = ("labelwise", "timm", "torchdistill")
    rows = [Row(name, REFINED, refined=1.0, own=True) for name in engines]
    monkeypatch.setattr(distill, "Worker", Here)
    monkeypatch.setattr(distill, "BATCH", 8)
    monkeypatch.setattr(distill, "contenders", lambda peers, more: rows)
    options = argparse.Namespace(
        data=made_images,
        out=made_images / "out",
        peer_python=Path(sys.executable),
        images=64,
        select=32,
        test=None,
        epochs=8,
        refinery_epochs=8,
        seeds=[3],
        more=False,
        core=None,
    )
    found = distill.benchmark(options)
    assert found["splits"] == {"fit": 64, "select": 32, "test": 40}
    ours, theirs, again = found["rows"]
    assert sum(again["labelwise"]["interval"]) == pytest.approx(0) and again["test"] == ours["test"]
    assert theirs["labelwise"]["of"] == "labelwise, refinery, T 1"
    # Ten colours are easy: a peer that was given other images, labels or weights would be far from this.
    assert ours["test"][0] > 50 and theirs["test"][0] > 50
    table = markdown(found)
    assert "**timm, refinery, T 1**" in table and "Best on select: labelwise, refinery, T 1 minus timm" in table
    written = json.loads((options.out / "timm-refinery-t-1-3.json").read_text())
    monkeypatch.setattr(Here, "__call__", lambda self, source, target: pytest.fail("a finished run was repeated"))
    assert distill.benchmark(options)["rows"] == found["rows"]
    assert written["settings"]["student_weights"].endswith("student-3.safetensors")


def test_peers_follow_the_same_schedule(made_images: Path) -> None:
    """Warm-up and cosine of a job, which torchdistill is given, are those of labelwise."""
    import distill_rows
    from peers.distill_job import Job

    values = dict.fromkeys(Job.__dataclass_fields__, 0) | {"epochs": 4, "warmup_epochs": 1.0}
    config = TrainConfig(epochs=4, lr=0.2, warmup_epochs=1.0)
    for step in range(4 * 7):
        assert 0.2 * Job(**values).rate(step, 7) == pytest.approx(learning_rate(config, step, 7))
    names = [row.name for row in distill_rows.contenders(peers=True, more=True)]
    assert len(set(names)) == len(names)
    assert {row.engine for row in distill_rows.contenders(peers=False)} == {"labelwise"}


def test_wrong_labels_of_multi_label_data_are_scored(made_features: Path) -> None:
    import audit_multi_label

    options = argparse.Namespace(data=made_features, peer_python=None)
    run = audit_multi_label.run_one(options, known=0.5, seed=0)
    assert set(run["rows"]) == {"labelwise", "base model's own", "mean answer's own"}
    assert run["rows"]["labelwise"]["both"] > 2 * run["rate"]["true"]
    assert sum(count for count, *_ in run["calibration"]["scores"]) == pytest.approx(450, abs=60)
    assert "| 50% | labelwise |" in audit_multi_label.table([run])


@pytest.fixture
def made_humans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Features of ten classes with human labels, where ``audit.py`` looks for them, and its modules on the path."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 10, 50_200)
    features = np.zeros((50_200, 12), dtype=np.float16)
    features[:, :10] = 3 * np.eye(10)[true]
    features[:200] += rng.standard_normal((200, 12)).astype(np.float16)
    np.savez(tmp_path / "cifar10_features_lite0_pca128.npz", features=features, label=true)
    given = {
        name: np.where(rng.random(50_200) < rate, (true + 1) % 10, true)
        for name, rate in (("worse_label", 0.3), ("random_label1", 0.2), ("aggre_label", 0.1))
    }
    np.savez(tmp_path / "cifar10n.npz", clean_label=true, **given)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return tmp_path


def test_audit_finds_the_wrong_labels_and_says_what_corrections_are_worth(
    made_humans: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import audit

    monkeypatch.setattr(audit, "CORRECTED", 20)
    monkeypatch.setattr(audit, "LABELS", ("worse_label", "aggre_label"))
    options = argparse.Namespace(data=made_humans, out=made_humans / "out", peer_python=None, seeds=1, images=200)
    options.out.mkdir()
    audit.find(options)
    table = capsys.readouterr().out
    rows = json.loads((options.out / "find.json").read_text())["rows"]
    ours = [row for row in rows if row["method"] == "labelwise"]
    assert {row["labels"] for row in ours} == set(audit.LABELS) and all(row["auroc"] > 0.8 for row in ours)
    [said] = [row for row in rows if row["method"] == "calibration" and row["labels"] == "worse_label"]
    stored = np.load(made_humans / "cifar10n.npz")
    wrong = (stored["worse_label"] != stored["clean_label"])[:200]
    assert said["true"] == wrong.mean() and said["depths"][-1][0] == 200 and said["depths"][-1][3] == wrong.sum()
    assert "**aggre_label**" in table and "| neighbours' vote |" in table
    audit.act(options)
    found = {row["labels"]: row["wrong"] for row in json.loads((options.out / "act.json").read_text())["rows"]}
    assert found["none"] == wrong.mean() > found["first 20 of the list"]
    audit.again(options)
    [left, _] = json.loads((options.out / "again.json").read_text())["rows"]
    assert left["true"] == found["first 20 of the list"] and left["interval"][0] < left["true"] < left["interval"][1]
