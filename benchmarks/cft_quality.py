"""`cft.py quality`: test AP of every method and peer on UC Merced features, labels taken away."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cft_common import (
    OURS,
    PEERS,
    Cache,
    Doubles,
    Head,
    Part,
    PeerResult,
    Problem,
    code_mark,
    fine_tune,
    make_problem,
    read_peer,
    read_ucm,
    run_peer,
    spread,
    table,
    write_result,
)

from labelwise.cft.first_head import fit_first_head
from labelwise.cft.solvers.inputs import SolverInput, Split
from labelwise.metrics.paired import MeanRanking

GATES = {10: (3.5, 4.5), 30: (2.8, 3.3), 50: (2.0, 2.5), 90: (0.6, 1.1)}
"""Targets of auto in points over the base: gate and aim."""

SCRATCH = ("ignore", "full")
CLEAR = 0.1
"""Points of AP on test from which a category counts as won or lost."""

DRAWS = 1000
_BUDGET = 1 << 27


@dataclass(frozen=True)
class Case:
    """One problem: known share in percent, seed of the mask, and which splits select and report."""

    share: int
    seed: int
    light: bool
    swap: bool

    @property
    def name(self) -> str:
        return f"p{self.share}-s{self.seed}{'-light' if self.light else ''}{'-swap' if self.swap else ''}"


@dataclass(frozen=True)
class Cell:
    """AP (C,) in points on select and test, seconds, and the head for the bootstrap."""

    select: Doubles
    test: Doubles
    seconds: float
    head: Head


def quality(options: argparse.Namespace) -> None:
    cache = Cache(options.cache)
    parts = read_ucm()
    directions = (False, True) if options.swap else (False,)
    cells: dict[tuple[str, Case], Cell] = {}
    rows = ["base", *(m for m in (*OURS, *SCRATCH) if m in options.methods)]
    for share, seed, swap in itertools.product(options.shares, options.seeds, directions):
        case = Case(share, seed, options.light, swap)
        problem = make_problem(parts, share, seed, cache, light=options.light, swap=swap)
        cells["base", case] = Cell(problem.base.ap(problem.select), problem.base.ap(problem.test), 0.0, problem.base)
        for name in rows[1:]:
            cells[name, case] = _own_cell(name, case, problem, parts["fit"], cache)
        for method in (m for m in PEERS if m in options.methods):
            found = _peer_cell(method, case, problem, cache, options)
            if found is not None:
                cells[method, case] = found
    rows += [m for m in PEERS if any(name == m for name, _ in cells)]
    found = []
    for share in options.shares:
        cases = [Case(share, seed, options.light, False) for seed in options.seeds]
        found += _report(share, rows, cases, cells, parts["test"])
        if options.swap:
            found += _report_neutral(share, rows, cases, cells)
    facts = {"data": "ucm_features_lite0", "seeds": options.seeds, "light": options.light, "swap": options.swap}
    write_result(options.out, "quality", {**facts, "draws": DRAWS, "rows": found})


def _own_cell(name: str, case: Case, problem: Problem, complete: Part, cache: Cache) -> Cell:
    """A method of ours, or a head fitted without the base: on the known labels, or on all of them."""
    settings = {"cell": name, "case": case.name, "code": code_mark(), "threads": torch.get_num_threads()}

    def compute() -> dict[str, Any]:
        if name in OURS:
            head, seconds = fine_tune(problem, name, case.seed)
        else:
            head, seconds = _from_scratch(complete if name == "full" else problem.fit, problem.select, case.seed)
        cache.keep_head(settings, head)
        return {"seconds": seconds, "select": head.ap(problem.select).tolist(), "test": head.ap(problem.test).tolist()}

    return _cell(cache, settings, cache.get(settings, compute))


def _from_scratch(fit: Part, select: Part, seed: int) -> tuple[Head, float]:
    splits = [Split(features, torch.from_numpy(labels)) for features, labels in (fit, select)]
    started = time.perf_counter()
    shape = fit[1].shape[1], fit[0].shape[1]
    inputs = SolverInput(*splits, torch.zeros(shape), torch.zeros(shape[0]), seed, "ap", _BUDGET)
    weight, bias = fit_first_head(inputs, "ignore")
    return Head(weight.numpy(), bias.numpy()), time.perf_counter() - started


def _peer_cell(method: str, case: Case, problem: Problem, cache: Cache, options: argparse.Namespace) -> Cell | None:
    """The peer's result: from a folder of finished ones, or by running it; None where neither is given."""
    finished = options.peer_results and options.peer_results / f"{method.split()[1]}-{case.name}.npz"
    if not (finished and finished.exists()) and options.peer_python is None:
        return None
    settings = {"cell": method.replace(" ", "-"), "case": case.name, "threads": torch.get_num_threads()}

    def compute() -> dict[str, Any]:
        result = read_peer(finished) if finished and finished.exists() else _run(method, case, problem, options)
        select = result.head.ap(problem.select)
        # A result for another base, or AP measured differently there, must not slip in.
        if not np.allclose(select, result.select, atol=1e-2, equal_nan=True):
            raise SystemExit(f"{method} {case.name}: its select AP is not that of its head on this problem")
        cache.keep_head(settings, result.head)
        columns = {"select": select.tolist(), "test": result.head.ap(problem.test).tolist()}
        return {"seconds": float(result.seconds.sum()), **columns, "peer": result.settings}

    return _cell(cache, settings, cache.get(settings, compute))


def _run(method: str, case: Case, problem: Problem, options: argparse.Namespace) -> PeerResult:
    with tempfile.TemporaryDirectory() as folder:
        problem.save(Path(folder) / "problem.npz")
        return run_peer(
            options.peer_python, Path(folder) / "problem.npz", method, case.seed, threads=torch.get_num_threads()
        )


def _cell(cache: Cache, settings: dict[str, Any], found: dict[str, Any]) -> Cell:
    return Cell(np.array(found["select"]), np.array(found["test"]), found["seconds"], cache.head(settings))


def _report(
    share: int, rows: Sequence[str], cases: Sequence[Case], cells: dict[tuple[str, Case], Cell], test: Part
) -> list[dict[str, Any]]:
    """A row per method over the seeds it has, each compared with auto on the same seeds."""
    printed, found = [], []
    features, labels = test
    resampled = MeanRanking(labels, draws=DRAWS)
    drawn = {key: resampled(cell.head.logits(features)) for key, cell in cells.items() if key[1] in cases}
    for row in rows:
        have = [case for case in cases if (row, case) in cells]
        base, own = ([cells[name, case] for case in have] for name in ("base", row))
        gain = np.stack([a.test - b.test for a, b in zip(own, base, strict=True)])
        select = np.array([(a.select - b.select).mean() for a, b in zip(own, base, strict=True)])
        entry: dict[str, Any] = {"share": share, "row": row, "seeds": [case.seed for case in have]}
        entry |= {
            "test": [cell.test.mean() for cell in own],
            "gain": gain.mean(1).tolist(),
            "select_gain": select.tolist(),
        }
        entry |= {"overstatement": (select - gain.mean(1)).tolist(), "seconds": [cell.seconds for cell in own]}
        entry |= {"won": (gain > CLEAR).sum(1).tolist(), "lost": (gain < -CLEAR).sum(1).tolist()}
        against = "-"
        if row != "auto" and all(("auto", case) in cells for case in have):
            auto = [cells["auto", case] for case in have]
            entry["auto_minus_row"] = [a.test.mean() - b.test.mean() for a, b in zip(auto, own, strict=True)]
            # 95 % of the difference, paired by seed; images and seeds are drawn with replacement.
            before, after = ([drawn[name, case] for case in have] for name in (row, "auto"))
            low, high = (100 * end for end in resampled.gain(before, after).interval)
            entry["auto_minus_row_interval"] = [low, high]
            against = f"{spread(entry['auto_minus_row'])} [{low:+.2f}, {high:+.2f}]"
        found.append(entry)
        printed.append(
            [
                row,
                str(len(have)),
                spread(entry["test"], sign=False),
                spread(entry["gain"]),
                f"{select.mean():+.2f}",
                f"{np.mean(entry['overstatement']):+.2f}",
                f"{np.mean(entry['won']):.1f}/{np.mean(entry['lost']):.1f}",
                f"{np.median(entry['seconds']):.2f}",
                against,
            ]
        )
    heads = [
        "row",
        "seeds",
        "test mAP",
        "test gain",
        "select gain",
        "overst.",
        "won/lost",
        "s",
        "auto minus row [95 %]",
    ]
    table(f"{share} % known{' (light decay)' if cases[0].light else ''}", heads, printed)
    _print_gates(share, {entry["row"]: entry for entry in found}, cases[0].light)
    return found


def _print_gates(share: int, entries: dict[str, dict[str, Any]], light: bool) -> None:
    if "auto" not in entries:
        return
    gain = float(np.mean(entries["auto"]["gain"]))
    if light or share not in GATES:
        print(f"auto {gain:+.2f} over the base: {'not below it' if gain >= 0 else 'BELOW THE BASE'}")
        return
    gate, aim = GATES[share]
    verdict = "aim met" if gain >= aim else "gate met" if gain >= gate else "GATE MISSED"
    print(f"auto {gain:+.2f} over the base: {verdict} (gate {gate:+.1f}, aim {aim:+.1f})")
    for library in ("mlcpl", "libauc"):
        peers = [entry for name, entry in entries.items() if name.startswith(library) and "auto_minus_row" in entry]
        if not peers:
            continue
        best = min(peers, key=lambda entry: float(np.mean(entry["auto_minus_row"])))
        low, high = best["auto_minus_row_interval"]
        difference = float(np.mean(best["auto_minus_row"]))
        print(f"auto {difference:+.2f} [{low:+.2f}, {high:+.2f}] over the best of {library}, {best['row']}")


def _report_neutral(
    share: int, rows: Sequence[str], cases: Sequence[Case], cells: dict[tuple[str, Case], Cell]
) -> list[dict[str, Any]]:
    """Gains averaged over both directions; a difference in difficulty between the two splits cancels."""
    printed, found = [], []
    for row in rows[1:]:
        report, select = [], []
        for case in cases:
            both = [Case(case.share, case.seed, case.light, swap) for swap in (False, True)]
            if not all((row, one) in cells for one in both):
                continue
            pairs = [(cells[row, one], cells["base", one]) for one in both]
            report.append(np.mean([(a.test - b.test).mean() for a, b in pairs]))
            select.append(np.mean([(a.select - b.select).mean() for a, b in pairs]))
        if report:
            over = np.array(select) - np.array(report)
            printed.append([row, str(len(report)), spread(report), f"{np.mean(select):+.2f}", spread(over)])
            entry = {"share": share, "row": row, "neutral_gain": report, "neutral_select_gain": select}
            found.append({**entry, "neutral_overstatement": over.tolist()})
    heads = ["row", "seeds", "report gain", "select gain", "overstatement"]
    table(f"{share} % known, select and test in both roles", heads, printed)
    return found
