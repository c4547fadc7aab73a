"""`cft.py contaminated`: the gain of `auto` when some rows or one column of fit and select are spoiled."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from cft_common import Doubles, Head, Part, Problem, fine_tune, hide, read_ucm, spread, table, write_result

from labelwise.cft.first_head import fit_first_head
from labelwise.cft.solvers.inputs import SolverInput, Split

ROWS = {"noise x 1e8": 1e8, "row x 30": 30.0, "row x 10": 10.0, "one value 1e8": 1e8}
"""What a spoiled row holds; `contaminated` spoils 0.1% and 1% of the rows."""

COLUMNS = (10.0, 1e3, 1e6)
COLUMN = 7


def contaminated(options: argparse.Namespace) -> None:
    """One table per share of known labels: gain on the clean test rows, in points."""
    parts = read_ucm()
    cases: list[tuple[str, float]] = [("clean", 0.0)]
    cases += [(kind, share) for kind in ROWS for share in (0.001, 0.01)]
    cases += [(f"column x {factor:g}", factor) for factor in COLUMNS]
    rows: list[dict[str, Any]] = []
    for known in options.shares:
        problems = {seed: _problem(parts, known, seed) for seed in options.seeds}
        for kind, amount in cases:
            gains = [_gain(_spoil(p, kind, amount, seed), seed) for seed, p in problems.items()]
            rows.append({"known": known, "kind": kind, "amount": amount, "gain": gains})
        own = [row for row in rows if row["known"] == known]
        cells = [[_title(row), spread(row["gain"]), _loss(row["gain"], own[0]["gain"])] for row in own]
        table(f"{known} % known", ["", "gain", "lost to clean"], cells)
    write_result(options.out, "contaminated", {"data": "ucm_features_lite0", "seeds": options.seeds, "rows": rows})


def _title(row: dict[str, Any]) -> str:
    return f"{row['kind']}, {100 * row['amount']:g}% of rows" if row["kind"] in ROWS else row["kind"]


def _loss(gain: list[float], clean: list[float]) -> str:
    return f"{np.mean(clean) - np.mean(gain):.2f}"


def _problem(parts: dict[str, Part], known: int, seed: int) -> Problem:
    """With a base head of labelwise's own on the clean rows, trained on unknown labels as negatives."""
    features, labels = parts["fit"][0], hide(parts["fit"][1], known, seed)
    splits = [Split(z, torch.from_numpy(y)) for z, y in ((features, labels), parts["select"])]
    shape = labels.shape[1], features.shape[1]
    weight, bias = fit_first_head(
        SolverInput(*splits, torch.zeros(shape), torch.zeros(shape[0]), seed), "assume-negative"
    )
    return Problem((features, labels), parts["select"], parts["test"], Head(weight.numpy(), bias.numpy()), 0.0)


def _spoil(problem: Problem, kind: str, amount: float, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    width = problem.fit[0].shape[1]
    factor = np.ones(width)
    if kind.startswith("column"):
        factor[COLUMN] = amount

    def spoiled(part: Part) -> Part:
        z: Doubles = part[0] * factor
        rows = rng.choice(len(z), max(1, round(amount * len(z))), replace=False) if kind in ROWS else []
        for row in rows:
            if kind.startswith("noise"):
                z[row] = rng.normal(size=width) * ROWS[kind]
            elif kind.startswith("one"):
                z[row, rng.integers(width)] = ROWS[kind]
            else:
                z[row] *= ROWS[kind]
        return z.astype(np.float32), part[1]

    test = (problem.test[0] * factor).astype(np.float32), problem.test[1]
    base = Head((problem.base.weight / factor).astype(np.float32), problem.base.bias)
    return Problem(spoiled(problem.fit), spoiled(problem.select), test, base, 0.0)


def _gain(problem: Problem, seed: int) -> float:
    head, _ = fine_tune(problem, "auto", seed)
    return float(head.ap(problem.test).mean() - problem.base.ap(problem.test).mean())
