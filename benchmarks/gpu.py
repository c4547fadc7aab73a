"""The steps of ``gpu.sh`` that no other script has: rates of training, plans that fit the time, small JSONs.

    python benchmarks/gpu.py --help

- ``start``: names what is missing here, begins ``summary.json``, copies the tables, in a dry run with tiny networks,
  small batches, one epoch and one seed, and prints the device and how many cells should run at once.
- ``stand-in``: made data for a dry run.
- ``tests``: the tests marked ``gpu``.
- ``rates``: unpacks the images once, then measures the images per second of every kind of training that the tables
  need: as many processes at once as cells will run, each on random crops in the loop of ``refine.py``.
- ``table``: a table with as many epochs, or as many images, as fit the seconds there are at these rates.
- ``collect``: what is finished of a table, whole or not.
- ``cells``: what is finished of ``cft.py load``.
- ``record``, ``show``: a step's end in ``summary.json``, and the summary as a table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_rates import IMAGES, Needed, networks_of, rates, stand_in

from labelwise.errors import LabelwiseError

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("cifar10n", "students")
"""Of ``recipes/tables``, their names without ``gpu_``."""
PLANNED, PLAN = "planned.yaml", "plan.json"
SHARE = 0.7
"""Of a table's seconds that are planned for training; the rest is for starts, scores and networks that wait."""
SHRUNK = 16
"""A dry run divides the widths of the networks by so much."""


# What is here


def unmet() -> tuple[list[str], list[str]]:
    """Requirements of pyproject.toml that are not installed here, and those of which another version is."""
    from packaging.requirements import Requirement

    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = [Requirement(line) for line in tomllib.load(file)["project"]["dependencies"]]
    found = {str(one): _version(one.name) for one in wanted}
    missing = [name for name, own in found.items() if own is None]
    others = [one for one in wanted if (own := found[str(one)]) and not one.specifier.contains(own, prereleases=True)]
    return missing, [f"{one} (here: {found[str(one)]})" for one in others]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def start(options: argparse.Namespace) -> None:
    missing, others = unmet()
    if others:
        print(f"gpu.sh: goes on with other versions than {', '.join(others)}", file=sys.stderr)
    if missing:
        sys.exit(
            f"gpu.sh: {sys.executable} lacks {', '.join(missing)}: install it, or put wheels into {options.wheels}"
        )
    import torch

    from labelwise.runs import environment, write_json

    cuda = torch.cuda.is_available()
    if not cuda and not options.tiny:
        sys.exit("gpu.sh: PyTorch sees no CUDA device here; --tiny runs the same steps small, on the CPU")
    facts = {"benchmark": "gpu", "tiny": options.tiny, "minutes": options.minutes, "environment": environment()}
    states = {name: "not reached" if name in options.only or not options.only else "left out" for name in options.steps}
    write_json(options.out, facts | {"steps": [{"step": name, "state": state} for name, state in states.items()]})
    options.tables.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        text = (ROOT / "recipes" / "tables" / f"gpu_{name}.yaml").read_text()
        if options.tiny:
            text = re.sub(r"\bseeds: \d+", "seeds: 1", scaled(text, epochs=0, width=1 / SHRUNK))
            text = re.sub(r"\bbatch_size: \d+", "batch_size: 64", text)
        (options.tables / f"{name}.yaml").write_text(text)
    print("cuda 3" if cuda and not options.tiny else f"{'cuda' if cuda else 'cpu'} 1")


def tests(options: argparse.Namespace) -> None:
    import pytest

    from labelwise.runs import write_json

    class Outcomes:
        def __init__(self) -> None:
            self.found: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" or report.outcome != "passed":
                self.found[report.outcome].append(report.nodeid)

    outcomes = Outcomes()
    files = [str(path) for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text()]
    code = int(pytest.main(["-m", "gpu", "-p", "no:cacheprovider", *sorted(files)], plugins=[outcomes]))
    write_json(options.out, {"exit_code": code, **outcomes.found})
    sys.exit(code)


# Tables


def scaled(text: str, *, epochs: float = 1.0, width: float = 1.0) -> str:
    """A table's text with all numbers of epochs and all widths multiplied; both stay above 0, integers integers."""
    text = re.sub(r"\bepochs([=:] ?)(\d+)", lambda m: f"epochs{m[1]}{max(1, int(int(m[2]) * epochs))}", text)

    def narrower(match: re.Match[str]) -> str:
        number = float(match[1]) * width
        return f"width: {number if '.' in match[1] else max(1, int(number))}"

    return re.sub(r"\bwidth: ([\d.]+)", narrower, text)


def planned(text: str, needed: list[Needed], rates: dict[str, float], images: int, seconds: float, keep: str) -> Plan:
    """What fits ``seconds``: fewer epochs on all ``images``, or with ``keep`` epochs as many images as fit."""
    whole = images * sum(one.passes / rates[one.kind] for one in needed)
    factor = min(1.0, SHARE * seconds / whole)
    if keep == "images":
        return Plan(scaled(text, epochs=factor), images, whole, factor)
    return Plan(text, max(1, int(images * factor)), whole, factor)


@dataclass(frozen=True)
class Plan:
    """A table's text, its number of training images, the seconds of all of it, and the share that is planned."""

    text: str
    images: int
    whole_seconds: float
    factor: float


def table(options: argparse.Namespace) -> None:
    import numpy as np

    from labelwise.experiment.run import run_experiment
    from labelwise.runs import read_json, write_json

    with np.load(Path(os.environ["LABELWISE_DATA"]) / IMAGES[0]) as file:
        images = int(file["n_train"])
    needed = [one for _, one, _, _ in networks_of(options.table)]
    speed = read_json(options.rates)["images_per_second"]
    found = planned(options.table.read_text(), needed, speed, images, options.seconds, options.keep)
    options.folder.mkdir(parents=True)
    (options.folder / PLANNED).write_text(found.text)
    facts = {"seconds": options.seconds, "images": found.images, "share": round(found.factor, 4)}
    facts |= {"networks": len(needed), "seconds_of_the_whole_table": round(found.whole_seconds, 1)}
    facts |= {"epochs": [int(number) for number in re.findall(r"\bepochs[=:] ?(\d+)", found.text)]}
    write_json(options.folder / PLAN, facts)
    print(facts, flush=True)
    run_experiment(_planned_experiment(options.folder), options.folder / "run", jobs=options.jobs, quiet=True)


def _planned_experiment(folder: Path) -> Any:
    from labelwise.experiment.config import load_experiment
    from labelwise.runs import read_json

    return load_experiment(folder / PLANNED, [f"recipe.data.train_limit={read_json(folder / PLAN)['images']}"])


def collect(options: argparse.Namespace) -> None:
    from labelwise.experiment.config import Cell, all_cells, cell_folder
    from labelwise.experiment.table import make_table
    from labelwise.results import RefineResults, read_results_as
    from labelwise.runs import RESULTS, environment, read_json, write_json

    config, run = _planned_experiment(options.folder), options.folder / "run"
    folders = {cell: cell_folder(config, cell, run) for cell in all_cells(config)}
    finished = [cell for cell, folder in folders.items() if (folder / RESULTS).exists()]
    columns = range(len(config.columns))
    complete = [all(Cell(row, c, s) in finished for row in config.rows for c in columns) for s in range(config.seeds)]
    whole = next((seed for seed, is_whole in enumerate(complete) if not is_whole), config.seeds)
    table = None
    if whole:
        table = make_table(config.model_copy(update={"seeds": whole}), run).to_dict()
    networks = []
    for cell in finished:
        own = {"column": config.columns[cell.column].title, "row": cell.row, "seed": cell.seed}
        for row in read_results_as(folders[cell], RefineResults).rows:
            numbers = {"network": row.name, "epochs": row.epochs, "seconds": row.seconds}
            numbers |= {"images_per_second": row.images_per_second, "fit": row.fit.top1}
            networks.append(
                own | numbers | {"select": row.select and row.select.top1, "test": row.test and row.test.top1}
            )
    facts = {"name": config.name, "plan": read_json(options.folder / PLAN), "cells": len(folders)}
    facts |= {"finished": len(finished), "whole_seeds": whole, "seeds": config.seeds, "environment": environment()}
    write_json(options.out, {"benchmark": "gpu table", **facts, "table": table, "networks": networks})
    print(f"{config.name}: {len(finished)} of {len(folders)} cells, {whole} of {config.seeds} seeds")
    for cell in table["table"] if table else ():
        if cell["column"] is not None:
            words = f"{table['columns'][cell['column']]:28} {cell['row']:44} {100 * cell['test']['mean']:6.2f}"
            if gain := cell.get("over_reference"):
                low, high = gain["interval"]
                words += f"  {100 * gain['gain']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
            print(f"  {words}")


def cells(options: argparse.Namespace) -> None:
    """The finished cells of ``cft.py``, where it did not come to its own end."""
    from labelwise.runs import read_json, write_json

    found = [read_json(path) for path in sorted(options.folder.glob("*.json"))]
    if found:
        write_json(options.out, {"benchmark": "cft load", "cells": found})


# The summary


def record(options: argparse.Namespace) -> None:
    """State of a step from its exit code; where it failed, the end of what it said."""
    from labelwise.runs import read_json, write_json

    summary = read_json(options.out)
    states = {0: "done", 124: "out of time", 137: "out of time"}
    result = options.out.with_name(f"{options.step}.json")
    state = "failed" if options.code == 0 and not result.exists() else states.get(options.code, "failed")
    own: dict[str, Any] = {"step": options.step, "state": state}
    own |= {"exit_code": options.code, "seconds": options.seconds, "limit": options.limit}
    if state == "failed" and options.log.exists():
        own["said"] = options.log.read_text(errors="replace").splitlines()[-8:]
    own["file"] = result.name if result.exists() else None
    summary["steps"] = [own if one["step"] == options.step else one for one in summary["steps"]]
    write_json(options.out, summary)


def show(options: argparse.Namespace) -> None:
    steps = json.loads(options.out.read_text())["steps"]
    print(f"\n{'step':12}{'state':14}{'seconds':>8}{'limit':>8}  file")
    for one in steps:
        seconds, limit, file = (one.get(key) or "" for key in ("seconds", "limit", "file"))
        print(f"{one['step']:12}{one['state']:14}{seconds:>8}{limit:>8}  {file}")
    bad = [one["step"] for one in steps if one["state"] not in ("done", "left out")]
    sys.exit(f"not done: {', '.join(bad)}" if bad else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, required=True, help="JSON, or folder, to write")

    each = commands.add_parser("start", parents=[common])
    each.set_defaults(call=start)
    each.add_argument("--tiny", action="store_true")
    each.add_argument("--minutes", type=float, required=True)
    each.add_argument("--wheels", required=True)
    each.add_argument("--only", type=lambda text: text.split(",") if text else [], required=True)
    each.add_argument("--tables", type=Path, required=True, help="folder that gets the tables")
    each.add_argument("steps", nargs="+")

    commands.add_parser("tests", parents=[common]).set_defaults(call=tests)

    commands.add_parser("stand-in", parents=[common]).set_defaults(call=stand_in)

    each = commands.add_parser("rates", parents=[common])
    each.set_defaults(call=rates)
    each.add_argument("--data", type=Path, required=True, help="folder that gets the unpacked images")
    each.add_argument("--most", type=int, help="images of each part; default: all")
    each.add_argument("--images", type=int, required=True, help="of an epoch that is timed")
    each.add_argument("--jobs", type=int, required=True)
    each.add_argument("--seconds", type=float, required=True, help="that a process waits for another one")
    each.add_argument("tables", type=Path, nargs="+")

    each = commands.add_parser("table")
    each.set_defaults(call=table)
    each.add_argument("--rates", type=Path, required=True)
    each.add_argument("--seconds", type=float, required=True)
    each.add_argument("--keep", choices=["images", "epochs"], required=True, help="what is not made fewer")
    each.add_argument("--jobs", type=int, required=True)
    each.add_argument("table", type=Path)
    each.add_argument("folder", type=Path, help="gets the planned table and its run")

    each = commands.add_parser("collect", parents=[common])
    each.set_defaults(call=collect)
    each.add_argument("folder", type=Path, help="of the command table")

    each = commands.add_parser("cells", parents=[common])
    each.set_defaults(call=cells)
    each.add_argument("folder", type=Path, help="--cache of cft.py")

    each = commands.add_parser("record", parents=[common])
    each.set_defaults(call=record)
    each.add_argument("--seconds", type=int, required=True)
    each.add_argument("--limit", type=int, required=True)
    each.add_argument("--log", type=Path, required=True)
    each.add_argument("step")
    each.add_argument("code", type=int)

    commands.add_parser("show", parents=[common]).set_defaults(call=show)
    options = parser.parse_args()
    try:
        options.call(options)
    except LabelwiseError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
