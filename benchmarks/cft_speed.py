"""`cft.py speed`: seconds of ours and of mlcpl, one after the other on the same problem in the same run."""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cft_common import Cache, Problem, code_mark, fine_tune, make_problem, read_ucm, run_peer, table, write_result

TIMED = ("fast", "auto")
AIMS = {10: (60, 200), 30: (40, 60), 50: (40, 60)}
"""Target for how many times as fast as mlcpl BP the preset fast must be: gate and aim."""

GA_AIM = (300, 800)


def speed(options: argparse.Namespace) -> None:
    cache = Cache(options.cache)
    parts = read_ucm()
    counts = [options.threads] if options.threads else sorted({torch.get_num_threads(), 1}, reverse=True)
    warm = set()
    cells: list[dict[str, Any]] = []
    for share, seed in itertools.product(options.shares, options.seeds):
        problem = make_problem(parts, share, seed, cache)
        for threads in counts:
            settings = {"cell": "speed", "share": share, "seed": seed, "threads": threads, "code": code_mark()}
            settings |= {
                "repeats": options.repeats,
                "ga": options.ga_categories,
                "peer": options.peer_python is not None,
            }

            def compute(p: Problem = problem, s: int = seed, t: int = threads) -> dict[str, Any]:
                return _measure(p, s, t, options, warm)

            cells.append({"share": share, "seed": seed, "threads": threads} | cache.get(settings, compute))
    _report(cells, counts)
    write_result(options.out, "speed", {"data": "ucm_features_lite0", "repeats": options.repeats, "cells": cells})


def _measure(problem: Problem, seed: int, threads: int, options: argparse.Namespace, warm: set[int]) -> dict[str, Any]:
    """Half of our repeats, the peer, the other half: whatever else the machine does meets both."""
    torch.set_num_threads(threads)
    if threads not in warm:
        for name in TIMED:
            fine_tune(problem, name, seed)
        warm.add(threads)
    seconds: dict[str, list[float]] = {name: [] for name in TIMED}
    found: dict[str, Any] = {}

    def repeat(count: int) -> None:
        for _, name in itertools.product(range(count), TIMED):
            head, taken = fine_tune(problem, name, seed)
            seconds[name].append(taken)
            found[name] = {"select": head.ap(problem.select).tolist()}

    repeat(options.repeats - options.repeats // 2)
    if options.peer_python is not None:
        known = (~np.isnan(problem.fit[1])).sum(0)
        few = np.argsort(known)[np.linspace(0, len(known) - 1, options.ga_categories).astype(int)].tolist()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "problem.npz"
            problem.save(source)
            for method, categories in (("mlcpl bp-bce", None), ("mlcpl ga", few)):
                result = run_peer(options.peer_python, source, method, seed, threads, categories)
                whole = float(result.seconds.mean()) * len(known)
                found[method] = {
                    "seconds": whole,
                    "select": result.select.tolist(),
                    "versions": result.settings,
                }
                found[method]["categories"] = result.categories
    repeat(options.repeats // 2)
    for name in TIMED:
        times = seconds[name]
        found[name] |= {"seconds": statistics.median(times), "best": min(times), "repeats": times}
    return found


def _report(cells: list[dict[str, Any]], counts: list[int]) -> None:
    rows = []
    for cell in cells:
        row = [f"{cell['share']} % s{cell['seed']}, {cell['threads']} thread{'s' * (cell['threads'] > 1)}"]
        for name in TIMED:
            row += [f"{cell[name]['seconds']:.3f}", f"{cell[name]['best']:.3f}", f"{np.mean(cell[name]['select']):.2f}"]
        for peer in ("mlcpl bp-bce", "mlcpl ga"):
            if peer in cell:
                mean = f"{np.mean(cell[peer]['select']):.2f}"
                row += [f"{cell[peer]['seconds']:.1f}", f"{mean} ({_mean(cell, 'fast', peer):.2f})"]
        rows.append(row)
    heads = ["problem", *(f"{name} {what}" for name in TIMED for what in ("s", "best s", "select"))]
    if "mlcpl bp-bce" in cells[0]:
        heads += ["BP s", "BP select (fast there)", "GA s*", "GA select* (fast there)"]
    table("Seconds of the libraries' own calls, all categories; ours: median and best", heads, rows)
    if "mlcpl bp-bce" not in cells[0]:
        return
    print(f"* GA on {len(cells[0]['mlcpl ga']['categories'])} categories, its seconds extrapolated linearly to all")
    for peer, name in itertools.product(("mlcpl bp-bce", "mlcpl ga"), TIMED):
        rows = [
            _ratio_row(f"{share} %, {threads} thread{'s' * (threads > 1)}", chosen, peer, name)
            for share, threads in itertools.product(sorted({cell["share"] for cell in cells}), counts)
            if (chosen := [c for c in cells if c["share"] == share and c["threads"] == threads])
        ]
        gates = dict.fromkeys(AIMS, GA_AIM) if peer == "mlcpl ga" else AIMS
        if name == "fast":
            asked = ", ".join(f"{share} %: {gate}x (aim {aim}x)" for share, (gate, aim) in gates.items())
            print(f"\ntargets of fast: {asked}", end="")
        heads = [peer, "median", "min", "max", "by best", "select equal or better"]
        table(f"{peer} seconds / {name} seconds", heads, rows)


def _ratio_row(title: str, cells: list[dict[str, Any]], peer: str, name: str) -> list[str]:
    ratio = [cell[peer]["seconds"] / cell[name]["seconds"] for cell in cells]
    best = [cell[peer]["seconds"] / cell[name]["best"] for cell in cells]
    better = sum(_mean(cell, name, peer) >= np.mean(cell[peer]["select"]) for cell in cells)
    numbers = (statistics.median(ratio), min(ratio), max(ratio), statistics.median(best))
    return [title, *(f"{number:.0f}x" for number in numbers), f"{better} of {len(cells)}"]


def _mean(cell: dict[str, Any], name: str, peer: str) -> float:
    """Select mAP of ours over the categories that the peer was run on."""
    return float(np.mean([cell[name]["select"][c] for c in cell[peer]["categories"]]))
