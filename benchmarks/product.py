"""The product of a run beside controls that are named, with paired intervals: a line of a Markdown table for each.

    python benchmarks/product.py runs/features early-stop,mixup kernel-ridge lda

Of several names with commas between them, the one under which the labels of `select` are likeliest is taken, as a run
chooses among its controls.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from labelwise.config import load_recipe
from labelwise.refinery.checks import prepare
from labelwise.refinery.choice import Judgement, judging_folds
from labelwise.refinery.compare import gain_on_test
from labelwise.results import METRICS, RefineResults, Row, open_run
from labelwise.runs import CONFIG


def lines(run: Path, rivals: list[str]) -> list[str]:
    """One row for the product and one for each rival: test score, seconds of training, points of the product more."""
    results = open_run(run).results
    assert isinstance(results, RefineResults) and results.best is not None
    recipe, data = prepare(load_recipe(run / CONFIG))
    judgement, metric = Judgement(data, run, judging_folds(recipe)), METRICS[results.task]

    def rows_of(name: str) -> list[Row]:
        found = [row for row in results.rows if row.name == name and row.role in ("generation", "control")]
        if not found:
            raise SystemExit(f"{run}: has no generation or control {name}")
        return found

    def line(title: str, rows: list[Row], seconds: float, gain: str) -> str:
        scores = [100 * float(getattr(row.test, metric)) for row in rows]
        spread = f" ± {np.std(scores, ddof=1):.1f}" if len(scores) > 1 else ""
        return f"| {title} | {np.mean(scores):.1f}{spread} | {seconds:.0f} | {gain} |"

    product = rows_of(results.best.name)
    found = [line(f"**product: {results.best.name}**", product, results.best.seconds, "")]
    for rival in rivals:
        named = [rows_of(name) for name in rival.split(",")]
        rows = named[judgement.most_likely(named) or 0]
        gain, (low, high) = gain_on_test(data, *([run / row.path for row in side] for side in (rows, product)))
        words = f"{100 * gain:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        found.append(line(rows[0].name, rows, float(np.mean([row.seconds for row in rows])), words))
    return found


if __name__ == "__main__":
    print("\n".join(lines(Path(sys.argv[1]), sys.argv[2:])))
