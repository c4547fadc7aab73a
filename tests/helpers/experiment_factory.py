"""A synthetic folder of an experiment: three rows over three rates of label noise, two heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.results_file import write_results
from labelwise.results import ExperimentResults

ROWS, HEADS, RATES = ("given", "early-stop", "refined"), ("base", "logistic"), (0.0, 0.2, 0.4)


def make_experiment(folder: Path) -> Path:
    """Write ``results.json`` as `labelwise experiment` leaves it and return the folder."""
    cells = [
        _cell(row, head, column, 0.9 - 0.35 * rate + 0.04 * ROWS.index(row) * rate + 0.01 * HEADS.index(head))
        for row in ROWS
        for head in HEADS
        for column, rate in enumerate(RATES)
    ]
    content: dict[str, Any] = {
        "kind": "experiment",
        "name": "noise",
        "description": "Does refining help where labels are wrong?",
        "claim": "Refined labels beat early stopping at every rate.",
        "axis": [
            {
                "key": "data.noise.rate",
                "values": RATES,
                "columns": {str(rate): [f"data.noise.rate={rate}"] for rate in RATES},
                "title": "rate of wrong labels",
                "overrides": [],
            }
        ],
        "columns": [f"{rate:.0%} wrong labels" for rate in RATES],
        "rows": ROWS,
        "heads": HEADS,
        "best": [],
        "extra": [],
        "reference": "given",
        "seeds": 3,
        "metric": "top1",
        "unit": "sample",
        "groups": [],
        "categories": [],
        "table": cells,
        "compared": [],
        "predicted": [],
        "trained": {"networks": 27, "seconds": 812.0},
        "seconds": 815.2,
    }
    write_results(folder, ExperimentResults.model_validate(content))
    return folder


def _cell(row: str, head: str, column: int, score: float) -> dict[str, Any]:
    gain = {"gain": score - 0.8, "interval": [score - 0.82, score - 0.78]}
    return {
        "column": column,
        "axis": 0,
        "value": RATES[column],
        "row": row,
        "head": head,
        "metric": "top1",
        "test": {"mean": score, "std": 0.006},
        "by_seed": [score - 0.006, score, score + 0.006],
        "extra": {},
        **({} if row == "given" else {"over_reference": gain}),
        **({} if head == "base" else {"over_base": gain}),
    }
