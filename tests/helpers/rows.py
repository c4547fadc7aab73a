"""Rows of results that were not trained."""

from __future__ import annotations

from typing import Any

from labelwise.results import Row
from labelwise.results.refine import FitScores, Scores


def make_row(name: str, *, top1: float | None = 0.5, nll: float | None = 1.0, **changes: Any) -> Row:
    """A network of the first generation with the given scores on select and test; ``changes`` are fields of its row."""
    fields = {
        "name": name,
        "role": "generation",
        "generation": 1,
        "seed": 0,
        "model": "net",
        "network": {"name": "net"},
        "labels": "given",
        "refineries": (),
        "epochs": 1,
        "kept_epoch": 1,
        "fit": FitScores(top1=0.9),
        "select": Scores(top1=top1, nll=nll, ece=0.1),
        "test": Scores(top1=top1, nll=nll, ece=0.1),
        "seconds": 1.0,
        "images_per_second": 1.0,
        "path": f"seed-0/{name}",
        "weights_hash": name,
    }
    return Row.model_validate(fields | changes)
