"""Networks with a refinery learn from unlabelled images too; the others never see them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.config import load_recipe
from labelwise.data.dataset import Dataset
from labelwise.data.readers import load_dataset
from labelwise.refinery.chain import refine, train

BASE = (
    "data={source: digits, train_limit: 200, test_limit: 50, labelled: 80}",
    "views={size: 8, scale: [0.5, 1.0], flip: false}",
    "train={epochs: 2, batch_size: 32, warmup_epochs: 0.5, channels_last: false}",
    "baselines={kinds: [early_stop], early_stop_epochs: [1]}",
    "chain={generations: 2}",
    "threads=1",
)


def run(out: Path, *changes: str, dataset: Dataset | None = None, baselines: bool = False) -> dict[str, Any]:
    recipe = load_recipe(None, [*BASE, *changes])
    found = refine(recipe, out, quiet=True, dataset=dataset, baselines=baselines).to_json()
    return {row["name"]: row for row in found["rows"]}


def without_unlabelled(dataset: Dataset) -> Dataset:
    kept = np.flatnonzero(dataset.split != "unlabelled")
    parts = {name: getattr(dataset, name)[kept] for name in ("ids", "groups", "label", "split")}
    return replace(dataset, source=dataset.source.take(kept), **parts)


def metrics(out: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "seed-0" / name / "metrics.jsonl").read_text().splitlines()]


def test_who_learns_from_given_labels_never_sees_them(tmp_path):
    dataset = load_dataset(load_recipe(None, BASE).data)
    plain = run(tmp_path / "plain", dataset=without_unlabelled(dataset), baselines=True)
    off = run(tmp_path / "off", "chain.unlabelled.share=0", dataset=dataset)
    on = run(tmp_path / "on", dataset=dataset, baselines=True)
    same = ("generation-1", "early-stop")
    assert [on[name]["weights_hash"] for name in same] == [plain[name]["weights_hash"] for name in same]
    assert off["generation-2"]["weights_hash"] == plain["generation-2"]["weights_hash"]
    assert on["generation-2"]["weights_hash"] != plain["generation-2"]["weights_hash"]
    assert on["generation-2"]["unlabelled"] == {"used": 100, "foreign": 0}
    assert on["generation-2"]["labels"] == "refinery soft dynamic (generation-1), 50% unlabelled"
    assert all("unlabelled" not in row for row in (on["generation-1"], off["generation-2"]))
    assert json.loads((tmp_path / "on" / "results.json").read_text())["splits"]["unlabelled"] == 100
    last = metrics(tmp_path / "on", "generation-2")[-1]["train"]
    assert last["labelled"] == pytest.approx(0.5, abs=0.02) and last["top1"] <= 1
    assert "labelled" not in metrics(tmp_path / "on", "generation-1")[-1]["train"]
    trained = train(load_recipe(None, BASE), tmp_path / "train", quiet=True, dataset=dataset)
    assert trained.rows[0].unlabelled is None


def test_foreign_images_are_left_out_by_entropy(tmp_path):
    dataset = load_dataset(load_recipe(None, BASE).data)
    counts = []
    for share in (0.0, 0.85, 1.0):
        change = ["train.epochs=8", f"chain.unlabelled.max_entropy={share}"]
        row = run(tmp_path / str(share), *change, dataset=dataset)["generation-2"]
        assert sum(row["unlabelled"].values()) == 100
        counts.append(row["unlabelled"]["used"])
        if 0 < row["unlabelled"]["used"] < 100:
            assert f"({row['unlabelled']['foreign']} of 100 found foreign)" in row["labels"]
    assert counts[0] == 0 < counts[1] < counts[2] == 100


@pytest.mark.parametrize(
    "changes",
    [
        ["chain.refined={kind: hard, per: image, given: 0.3}", "views.mixup=0.5"],
        ["chain={folds: 2, fold_labels: unseen}", "train.balance=class_weights"],
        ["chain.refined={given: 0.5, jitter: {step: 2}}", "train={balance: sampler, micro_batches: 2}"],
    ],
)
def test_they_go_with_other_options(tmp_path, changes):
    row = run(tmp_path / "run", *changes)["generation-2"]
    assert row["unlabelled"]["used"] == 100 and np.isfinite(row["test"]["nll"])
    assert metrics(tmp_path / "run", "generation-2")[-1]["train"]["top1"] <= 1


@pytest.mark.parametrize("unknown", ["{}", "{kind: hard, view: centre, share: 0.5}"])
def test_multi_label_data(tmp_path, digit_attributes, unknown):
    data = (
        f"data={{source: '{digit_attributes}', train_limit: 300, labelled: 60, known: {{protocol: cells, share: 0.5}}}}"
    )
    rows = run(tmp_path / "run", data, f"chain.unknown={unknown}", "chain.unlabelled={share: 0.7, max_entropy: 0.999}")
    used = rows["generation-2"]["unlabelled"]
    assert used["used"] > 0 and "70% unlabelled" in rows["generation-2"]["labels"]
    assert "unlabelled" not in rows["generation-1"] and np.isfinite(rows["generation-2"]["test"]["nll"])
