"""A synthetic audit folder with everything a page can show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.results_file import write_results
from helpers.run_factory import write_json
from labelwise.audit.thumbnails import write_thumbnails
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.results import AuditResults, Splits
from labelwise.results.audit import ClassHealth, Duplicates, Expected, NoiseRate
from labelwise.results.audit_table import write_audit_table

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def audit_frame(rows: int, classes: list[str], *, many: bool = False, seed: int = 0) -> pd.DataFrame:
    """A ranked list, in which the suggestion for class k is mostly class k + 1."""
    rng = np.random.default_rng(seed)
    score = np.sort(rng.beta(0.35, 1.2, rows))[::-1].round(4)
    given = rng.integers(0, len(classes), rows)
    shift = np.where(rng.random(rows) < 0.8, 1, rng.integers(1, max(2, len(classes)), rows))
    suggested = np.where(score > 0.3, (given + shift) % len(classes), given)
    verdict = np.select([score > 0.6, score > 0.35, score > 0.33], ["wrong", "ambiguous", "outlier"], "correct")
    names = np.array(classes, dtype=object)
    columns: dict[str, Any] = {
        "rank": np.arange(1, rows + 1),
        "id": [f"train/{number:05d}.png" for number in rng.permutation(rows)],
        "path": "",
        "split": rng.choice(["fit", "select", "test"], rows, p=[0.8, 0.1, 0.1]),
        "given": names[given],
        "suggested": names[suggested],
        "score": score,
        "verdict": verdict,
        "p_given": (1 - score) * 0.9,
        "p_suggested": np.where(score > 0.3, score, 1 - score) * 0.95,
        "agreement": rng.integers(3, 9, rows) / 8,
        "provenance": "given",
    }
    if many:
        value = rng.integers(0, 3, rows)  # 2: not known
        positive = rng.random(rows) < 0.5
        columns["category"] = names[np.arange(rows) % len(classes)]
        columns["given"] = np.array(["0", "1", ""], dtype=object)[value]
        columns["suggested"] = np.where(value == 2, np.where(positive, "1", "0"), np.where(value == 1, "0", "1"))
        columns["score"] = np.where(value == 2, np.nan, score)
        columns["verdict"] = np.array(["missing positive", "false positive", "suggestion"], dtype=object)[value]
        columns["provenance"] = np.where(value == 2, "", "given")
        columns["id"] = [f"scene/{number // len(classes):05d}.png" for number in range(rows)]
    return pd.DataFrame(columns | {"first": columns["given"]})


def make_audit(
    folder: Path, *, rows: int = 300, classes: list[str] = CLASSES, many: bool = False, thumbnails: int = 60
) -> Path:
    """Write an audit folder as `labelwise audit` leaves it and return it."""
    frame = audit_frame(rows, classes, many=many)
    write_audit(folder, frame, classes, many=many)
    ids = list(dict.fromkeys(frame["id"]))[:thumbnails]
    if ids:
        coarse = np.random.default_rng(3).integers(0, 255, (len(ids), 8, 8, 3), dtype=np.uint8)
        pixels = coarse.repeat(12, axis=1).repeat(12, axis=2)
        write_thumbnails(pictures(ids, pixels), np.arange(len(ids)), folder)
    return folder


def write_audit(folder: Path, frame: pd.DataFrame, classes: list[str], *, many: bool = False) -> None:
    """Write the files of an audit that go with a list."""
    folder.mkdir(parents=True, exist_ok=True)
    write_audit_table(folder, frame)
    write_results(folder, audit_results(frame, classes, many=many))
    command = "labelwise audit photos --model resnet18 --out runs/audit"
    environment = {"python": "3.12.3", "torch": "2.7", "device": "cpu", "threads": 2}
    about = {"schema": 1, "kind": "audit", "version": "0.3.0", "command": command, "environment": environment}
    write_json(folder / "run.json", about)


def audit_results(frame: pd.DataFrame, classes: list[str], *, many: bool = False) -> AuditResults:
    """Results that agree with the list."""
    known = frame["score"].fillna(0.0)
    depths = [depth for depth in (100, 200, 500, 1000, 2000, 5000, 10_000) if depth < len(frame)] + [len(frame)]
    wrong = [float(known[:depth].sum()) for depth in depths]
    key = "category" if many else "given"
    health = [_health(frame[frame[key] == name], name, many=many) for name in classes]
    count = len(classes)
    next_class = np.roll(np.eye(count), 1, axis=1) * 0.1
    transition = 0.86 * np.eye(count) + next_class + 0.04 / count
    return AuditResults(
        kind="audit",
        name="photos",
        task="multi-label" if many else "single-label",
        labels=int(frame["score"].notna().sum()),
        splits=Splits(fit=int(0.8 * len(frame)), select=int(0.1 * len(frame)), test=int(0.1 * len(frame))),
        answers=("logistic regression", "kernel ridge", "network", "neighbours"),
        noise_rate=NoiseRate(estimate=float(known.mean()), interval=(0.9 * known.mean(), 1.1 * known.mean())),
        transition=None if many else tuple(map(tuple, transition.tolist())),
        classes=tuple(health),
        verdicts={str(name): int(number) for name, number in frame["verdict"].value_counts().items()},
        expected=tuple(
            Expected(depth=depth, wrong=found, interval=(0.93 * found, 1.04 * found))
            for depth, found in zip(depths, wrong, strict=True)
        ),
        duplicates=Duplicates(found=41, across_splits=7, labels_differ=5, method="perceptual hash"),
        warnings=("class frog: 3 labels in one fold",),
        seed=0,
        seconds=71.5,
    )


def _health(own: pd.DataFrame, name: str, *, many: bool) -> ClassHealth:
    counts: dict[str, Any] = {}
    if many:
        verdicts = own["verdict"]
        counts["missing_positives"] = float((verdicts == "missing positive").sum())
        counts["false_positives"] = float((verdicts == "false positive").sum())
        counts["unknown"] = int((verdicts == "suggestion").sum())
    confused = None if many else own["suggested"][own["score"] > 0.6].mode()
    worst = None if confused is None or confused.empty else str(confused[0])
    return ClassHealth(
        name=name, given=int(own["score"].notna().sum()), wrong=float(own["score"].sum()), confused_with=worst, **counts
    )


def pictures(ids: list[str], pixels: np.ndarray) -> Dataset:
    """A data set of images alone."""
    n = len(ids)
    label, split = np.zeros(n, dtype=np.int64), np.full(n, "fit")
    return Dataset("photos", ("one",), np.array(ids), np.array(ids), label, split, PixelArray(pixels))
