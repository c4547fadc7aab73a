"""results.json of a refine run: rows, means over seeds, and the one comparison that counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.refinery.compare import gain_on_test

COLUMNS = {
    "fit_top1": ("fit", "top1"),
    "select_top1": ("select", "top1"),
    "test_top1": ("test", "top1"),
    "fit_map": ("fit", "map"),
    "select_map": ("select", "map"),
    "test_map": ("test", "map"),
    "test_mauc": ("test", "mauc"),
    "test_nll": ("test", "nll"),
    "test_ece": ("test", "ece"),
    "test_human_kl": ("test", "human_kl"),
    "fit_entropy": ("fit", "entropy"),
    "fit_ece": ("fit", "ece"),
    "noise_auroc": ("fit", "noise_auroc"),
    "hidden_map": ("fit", "hidden_map"),
    "refined_label_accuracy": ("fit", "refined_label_accuracy"),
    "seconds": ("seconds",),
}
"""Columns of a summary: top1 of single-label data, map and mauc of multi-label data."""


def results(
    kind: str, dataset: Dataset, rows: list[dict[str, Any]], regime: dict[str, Any] | None, run: Path
) -> dict[str, Any]:
    """The content of ``results.json`` (docs/file-formats.md)."""
    summary = summarise(rows)
    return {
        "kind": kind,
        "task": "single-label" if dataset.table is None else "multi-label",
        "splits": dataset.sizes(),
        "rows": rows,
        "summary": summary,
        "comparison": compare(rows, summary, dataset, run),
        "regime": regime,
    }


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and sample standard deviation over seeds of every network, in order of first appearance."""
    names = dict.fromkeys((row["name"], row["role"]) for row in rows)
    out = []
    for name, role in names:
        own = [row for row in rows if (row["name"], row["role"]) == (name, role)]
        entry: dict[str, Any] = {"name": name, "role": role, "seeds": len(own)}
        for column, keys in COLUMNS.items():
            entry[column] = _mean_std([_get(row, keys) for row in own])
        out.append(entry)
    return out


def compare(
    rows: Sequence[dict[str, Any]], summary: Sequence[dict[str, Any]], dataset: Dataset, run: Path
) -> dict[str, Any] | None:
    """Best generation against best control, both chosen on select by mean top-1 (or mAP), compared on test.

    The interval is a paired bootstrap over groups of test samples and over seeds. Without controls the best
    later generation is compared with the first.
    """
    generations = [row for row in rows if row["role"] == "generation"]
    if not generations:
        return None
    # In a chain of several networks only the one that is kept at its end competes, not its larger refineries; and a
    # generation that only some seeds reached (chain.min_gain) is not compared with a mean over all of them.
    kept = {row["name"] for row in generations if _network(row) == _network(generations[-1])}
    seeds = max(entry["seeds"] for entry in summary)
    entries = [s for s in summary if s["role"] == "generation" and s["name"] in kept and s["seeds"] == seeds]
    metric, title = ("top1", "top-1") if dataset.table is None else ("map", "mAP")
    against = _best_on_select([s for s in summary if s["role"] == "control"], metric)
    chain = _best_on_select(entries if against is not None else entries[1:], metric)
    against = against or next(iter(entries), None)
    if chain is None or against is None or not len(dataset.rows("test")):
        return None
    ours, theirs = (
        {row["seed"]: run / row["path"] for row in rows if row["name"] == entry["name"]} for entry in (chain, against)
    )
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    mean, (low, high) = gain_on_test(dataset, [theirs[s] for s in shared], [ours[s] for s in shared])
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    label = "the best control" if against["role"] == "control" else "the first generation"
    sentence = (
        f"{chain['name']} is {verdict} {label} ({against['name']}) on test: {100 * mean:+.2f} points of {title}, "
        f"95% interval {100 * low:+.2f} to {100 * high:+.2f}, {len(shared)} seed{'s' if len(shared) > 1 else ''}; "
        "both were chosen on select."
    )
    return {
        "chain": chain["name"],
        "control": against["name"],
        "chosen_on": "select",
        "metric": f"test {metric}",
        "difference": mean,
        "interval": [low, high],
        "seeds": len(shared),
        "sentence": sentence,
    }


def _network(row: dict[str, Any]) -> Any:
    """Two of one name may differ in width; runs of before say the name alone."""
    return row.get("network", row["model"])


def _best_on_select(entries: Sequence[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    """The entry with the highest mean score on select; the earliest of equals."""
    column = f"select_{metric}"
    scored = [e for e in entries if e[column] is not None]
    if not scored:
        return entries[-1] if entries else None
    return max(scored, key=lambda e: e[column]["mean"])


def _get(row: dict[str, Any], keys: tuple[str, ...]) -> float | None:
    value: Any = row
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return None if value is None else float(value)


def _mean_std(values: Sequence[float | None]) -> dict[str, float | None] | None:
    known = [v for v in values if v is not None and np.isfinite(v)]
    if not known:
        return None
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "std": std}
