"""The contenders of `distill.py` and what their runs say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.metrics.bootstrap import paired_interval

OURS = "labelwise"
ENGINES = (OURS, "timm", "torchdistill")
GIVEN, REFINED = "given labels", "refinery, T 1"
BOTH, MOSTLY = "labels + refinery, T 4", "a tenth refinery, T 4"
Run = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One contender: ``given`` x cross-entropy + ``refined`` x temperature^2 x KL; ``own`` is an engine's default."""

    engine: str
    labels: str
    given: float = 0.0
    refined: float = 0.0
    temperature: float = 1.0
    smoothing: float = 0.0
    workers: int = 0
    refinery_training: bool = False
    own: bool = False

    @property
    def name(self) -> str:
        parts = [self.engine, self.labels]
        if self.workers:
            parts.append(f"{self.workers} loader processes")
        if self.refinery_training:
            parts.append("refinery in training mode")
        return ", ".join(parts)

    def path(self, folder: Path, seed: int) -> Path:
        """Where a run of it is kept, without suffix."""
        return folder / f"{re.sub('[^a-z0-9]+', '-', self.name.lower())}-{seed}"


def contenders(peers: bool, more: bool = False) -> list[Row]:
    """The engines with each loss; defaults are labelwise's, those of timm's train.py and torchdistill's CIFAR-10 files.

    timm: weights 1 and 1, T 4, smoothing 0.1; torchdistill: alpha 0.9, T 4. Loader processes (4 and 16 by default) do
    not help where an engine has one core, so that the peers have none but in one row each.

    Parameters
    ----------
    peers : all engines, not labelwise alone
    more : also the peers' own numbers of loader processes, and the mode that torchdistill's example has its refinery in
    """
    engines = ENGINES if peers else (OURS,)
    rows = [Row(engine, GIVEN, given=1.0) for engine in engines]
    rows += [Row(engine, REFINED, refined=1.0, own=engine == OURS) for engine in engines]
    rows += [Row(engine, BOTH, 1.0, 1.0, 4.0) for engine in engines if engine != "torchdistill"]
    if peers:
        rows.append(Row("timm", f"{BOTH}, smoothed", 1.0, 1.0, 4.0, 0.1, own=True))
    rows += [Row(engine, MOSTLY, 0.9, 0.1, 4.0, own=engine != OURS) for engine in engines if engine != "timm"]
    if peers and more:
        rows.append(Row("torchdistill", MOSTLY, 0.9, 0.1, 4.0, refinery_training=True))
        rows.append(Row("timm", REFINED, refined=1.0, workers=4))
        rows.append(Row("torchdistill", REFINED, refined=1.0, workers=16))
    return rows


def right_of(row: Row, seeds: Sequence[int], folder: Path) -> NDArray[np.float64]:
    """(S, T) 100 where a test image was classified rightly, 0 elsewhere."""
    found = []
    for seed in seeds:
        with np.load(row.path(folder, seed).with_suffix(".npz")) as file:
            found.append(100.0 * file["right"])
    return np.stack(found)


def compare(first: Row, second: Row, seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    """Points of test accuracy by which ``first`` is better, and their interval over images and seeds."""
    difference = right_of(first, seeds, folder) - right_of(second, seeds, folder)
    return {"of": first.name, "over": second.name, "points": float(difference.mean()), "interval": interval(difference)}


def interval(difference: NDArray[np.float64]) -> tuple[float, float]:
    low, high = paired_interval(difference / 100)
    return 100 * low, 100 * high


def summarise(rows: Sequence[Row], runs: dict[Row, list[Run]], folder: Path) -> dict[str, Any]:
    """A table of all rows, each peer's also against labelwise with the same labels, and the best rows on select."""
    seeds = [run["seed"] for run in runs[rows[0]]]
    table = []
    for row in rows:
        entry: dict[str, Any] = asdict(row) | {"name": row.name}
        for key in ("select", "test", "seconds", "cpu_seconds"):
            values = [run[key] for run in runs[row]]
            entry[key] = [float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None]
        if row.engine != OURS:
            twin = next((r for r in rows if (r.engine, r.labels) == (OURS, row.labels)), None)
            twin = twin or next(r for r in rows if r.engine == OURS and r.own)
            entry["labelwise"] = compare(twin, row, seeds, folder)
            for key in ("seconds", "cpu_seconds"):
                ratios = [theirs[key] / own[key] for theirs, own in zip(runs[row], runs[twin], strict=True)]
                entry[f"{key}_ratio"] = [float(np.median(ratios)), min(ratios), max(ratios)]
        table.append(entry)
    best = {engine: _best(rows, runs, engine) for engine in dict.fromkeys(row.engine for row in rows)}
    own = {row.engine: row for row in rows if row.own}
    return {
        "seeds": seeds,
        "rows": table,
        "defaults": [compare(own[OURS], row, seeds, folder) for name, row in own.items() if name != OURS],
        "best_on_select": [compare(best[OURS], row, seeds, folder) for name, row in best.items() if name != OURS],
    }


def _best(rows: Sequence[Row], runs: dict[Row, list[Run]], engine: str) -> Row:
    """The row of an engine that is best on the held-out images; how data are loaded makes no other row."""
    own = [row for row in rows if row.engine == engine and not row.workers]
    return max(own, key=lambda row: float(np.mean([run["select"] for run in runs[row]])))


def markdown(summary: dict[str, Any]) -> str:
    """The table, and the comparisons as lines."""
    heads = ["row", "select", "test", "labelwise minus row", "s", "CPU s", "s / labelwise's", "CPU s / labelwise's"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    for entry in summary["rows"]:
        cells = [f"**{entry['name']}**" if entry["own"] else entry["name"]]
        cells += [_spread(entry[key], 2) for key in ("select", "test")]
        cells.append(_points(entry["labelwise"]) if "labelwise" in entry else "")
        cells += [_spread(entry[key], 1) for key in ("seconds", "cpu_seconds")]
        for key in ("seconds_ratio", "cpu_seconds_ratio"):
            cells.append("{:.2f} ({:.2f} to {:.2f})".format(*entry[key]) if key in entry else "")
        lines.append("| " + " | ".join(cells) + " |")
    for title, key in (("Defaults", "defaults"), ("Best on select", "best_on_select")):
        lines += [f"{title}: {found['of']} minus {found['over']} {_points(found)}" for found in summary[key]]
    return "\n".join(lines)


def _spread(value: tuple[float, float | None], digits: int) -> str:
    mean, deviation = value
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def _points(found: dict[str, Any]) -> str:
    return "{:+.2f} ({:+.2f} to {:+.2f})".format(found["points"], *found["interval"])
