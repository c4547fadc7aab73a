"""A synthetic run folder of category-wise fine-tuning with everything a report can show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from helpers.results_file import write_results
from helpers.run_factory import write_json
from labelwise.results import CftResults

UCM = ["airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field", "grass"]
UCM += ["mobile-home", "pavement", "sand", "sea", "ship", "tanks", "trees", "water"]


def make_cft_run(folder: Path, *, categories: list[str], seed: int = 0, rows: int = 420) -> Path:
    """Write a run folder as `labelwise cft` leaves it and return it; the last category is not fitted."""
    rng = np.random.default_rng(seed)
    items = [_category(rng, name, index, rows) for index, name in enumerate(categories[:-1])]
    items.append(_not_fitted(categories[-1]))
    results: dict[str, Any] = {
        "kind": "cft",
        "name": "ucm",
        "objective": "ap",
        "method": "auto",
        "preset": None,
        "base": "assume-negative",
        "uncertain": "unknown",
        "seed": 0,
        "seconds": 1.237,
        "stages": {"read": 0.04, "reduce": 0.21, "solve": 0.55, "choose": 0.12, "evaluate": 0.31},
        "peak_memory_mb": 312,
        "features": None,
        "expected_gain": 0.012,
        "splits": {"fit": 1285, "select": 395, "test": rows},
        "dim": 1280,
        "labels": {
            "fit": {"known": 0.1, "positive": 405, "negative": 1779, "unknown": 19661, "uncertain": 0},
            "select": {"known": 1.0, "positive": 1353, "negative": 5362, "unknown": 0, "uncertain": 0},
            "test": {"known": 1.0, "positive": 1416, "negative": 5724, "unknown": 0, "uncertain": 0},
        },
        "mean": {
            "select": _mean(items, "select"),
            "test": {**_mean(items, "test"), "gain_interval": [0.0183, 0.0552]},
        },
        "other": {
            "metric": "auc",
            "select": {"before": 0.941, "after": 0.957, "scored": len(items) - 1},
            "test": {"before": 0.938, "after": 0.949, "scored": len(items) - 1},
        },
        "calibration": {
            "test": {"ece_before": 0.0712, "ece_after": 0.0188, "log_loss_before": 0.241, "log_loss_after": 0.173}
        },
        "reliability": {"split": "test", "before": _bins(rng, 0.55, rows), "after": _bins(rng, 0.95, rows)},
        "counts": {
            status: sum(item["status"] == status for item in items)
            for status in ("improved", "unchanged", "not_fitted")
        },
        "warnings": [
            "ship: 2 known positives in fit; its head leans on the pooled rule",
            "select has under 20 positives in 3 categories",
        ],
        "categories": items,
    }
    write_results(folder, CftResults.model_validate(results))
    _predictions(folder, categories, rows)
    write_json(
        folder / "run.json",
        {
            "schema": 1,
            "kind": "cft",
            "version": "0.2.0",
            "environment": {"python": "3.12.3", "torch": "2.7", "device": "cpu", "cores": 2, "threads": 2},
            "command": "labelwise cft ucm.npz --objective ap --base assume-negative --out runs/ucm-cft",
        },
    )
    (folder / "config.yaml").write_text("objective: ap\nmethod: auto\nthresholds: max-f1\n", encoding="utf-8")
    return folder


def _predictions(folder: Path, categories: list[str], rows: int) -> None:
    """Logits of two heads on test, the new one closer to the labels; a tenth of the labels is unknown."""
    rng = np.random.default_rng(9)
    labels = (rng.random((rows, len(categories))) < 0.3).astype(np.float32)
    noise = rng.normal(size=(2, *labels.shape)).astype(np.float32)
    before, logits = 2 * labels + 1.6 * noise[0], 2 * labels + noise[1]
    labels[rng.random(labels.shape) < 0.1] = np.nan
    split = np.full(rows, "test")
    np.savez(
        folder / "predictions.npz", logits=logits, before=before, labels=labels, split=split, categories=categories
    )


def _category(rng: np.random.Generator, name: str, index: int, rows: int) -> dict[str, Any]:
    positives = int(np.clip(rng.lognormal(3.6, 1.2), 1, rows - 1))
    known = max(1, int(0.1 * 3 * positives))
    before = float(np.clip(0.9 - 0.35 * rng.random() - 0.3 / positives, 0.02, 0.99))
    kept = index % 4 == 3
    true = 0.0 if kept else float(np.clip(rng.normal(0.05, 0.04) * (1 - before) / 0.25, -0.06, 1 - before))
    seen = 0.0 if kept else abs(true) + 0.02 * float(rng.random())
    half = 0.0 if kept else 0.35 / positives**0.5 * (1 - before) ** 0.5
    number = int(rng.integers(4, 11))
    shares = rng.dirichlet(np.full(number, 3.0))
    return {
        "name": name,
        "status": "unchanged" if kept else "improved",
        "reason": "kept: no candidate beat the old head on select"
        if kept
        else f"adopted: mean of {number} heads, +{100 * seen:.1f} on select",
        "method": "old head" if kept else f"logistic mean of {number}",
        "known_positive": known,
        "known_negative": 128 - min(127, known),
        "unknown": 1157,
        "uncertain": 3 * (index == 1),
        "select": {
            "before": before - 0.01,
            "after": min(1.0, before - 0.01 + seen),
            "positives": positives,
            "negatives": max(0, 395 - positives),
        },
        "test": {
            "before": before,
            "after": before + true,
            "gain_interval": [max(true - half, -before), min(true + half, 1 - before)] if positives > 2 else None,
            "positives": positives,
            "negatives": rows - positives,
        },
        "ece": {"before": 0.07, "after": 0.07 if kept else 0.02},
        "threshold": {
            "rule": "max-f1",
            "value": -0.83,
            "probability": 0.304,
            "precision": 0.81,
            "recall": 0.77,
            "specificity": 0.98,
            "f1": 0.79,
            "positives": positives,
            "split": "select",
        },
        "evidence": [
            {
                "candidate": f"rank {2 ** (4 + i % 5)}, pull {(0, 0.5, 1, 2)[i % 4]}, strength {10 ** (i % 3)}",
                "select": min(1.0, before - 0.01 + seen - 0.004 * i),
                "share": 0.0 if kept else float(shares[i]),
            }
            for i in range(number)
        ],
    }


def _not_fitted(name: str) -> dict[str, Any]:
    nothing = {"before": None, "after": None, "positives": 0, "negatives": 395}
    return {
        "name": name,
        "status": "not_fitted",
        "reason": "no known positive in fit",
        "method": "old head",
        "known_positive": 0,
        "known_negative": 121,
        "unknown": 1164,
        "uncertain": 0,
        "select": nothing,
        "test": {**nothing, "gain_interval": None},
        "evidence": [],
    }


def _mean(items: list[dict[str, Any]], split: str) -> dict[str, Any]:
    scored = [item[split] for item in items if item[split]["before"] is not None]
    return {
        "before": float(np.mean([score["before"] for score in scored])),
        "after": float(np.mean([score["after"] for score in scored])),
        "scored": len(scored),
    }


def _bins(rng: np.random.Generator, slope: float, rows: int) -> list[dict[str, Any]]:
    found = []
    for index in range(10):
        probability = (index + 0.5) / 10
        positive = float(np.clip(0.5 + slope * (probability - 0.5) + rng.normal(0, 0.015), 0, 1))
        count = int(rows * 17 * np.exp(-5 * probability) * 0.6) + 20
        found.append(
            {
                "low": index / 10,
                "high": (index + 1) / 10,
                "count": count,
                "probability": probability,
                "positive": positive,
            }
        )
    found[6] = {"low": 0.6, "high": 0.7, "count": 0, "probability": None, "positive": None}
    return found
