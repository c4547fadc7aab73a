"""``labelwise experiment``: a table of many runs. Rows are ways to train, columns values of one key, cells mean ± std.

Every cell is a run of ``labelwise refine`` in a folder of its own, so an experiment goes on where it was stopped. Of
multi-label data each trained network can be followed by category-wise fine-tuning in several ways (``heads``).
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

import labelwise
from labelwise.cft.ensemble import PREDICTIONS as HEAD_PREDICTIONS
from labelwise.cft.extract import extract_features
from labelwise.cft.run import CftConfig, run_cft
from labelwise.config import PositiveInt, Recipe
from labelwise.data.dataset import Dataset
from labelwise.data.readers import load_dataset
from labelwise.errors import ConfigError, LabelwiseError, RunError
from labelwise.metrics.ranking import Metric
from labelwise.refine.chain import refine
from labelwise.refine.compare import Comparison
from labelwise.runs import CONFIG, RESULTS, RUN, SCHEMA, atomic_write, environment, fingerprint, read_json, write_json
from labelwise.settings import Section, dump_yaml, read_mapping, resolve

BASE = "base"
"""What the network itself is called among ``heads``."""


class AxisConfig(Section):
    """The key that differs between columns."""

    key: str = Field(description="key of a recipe, such as data.known.share")
    values: tuple[Any, ...] = Field(min_length=1)
    title: str = ""


class ExperimentConfig(Section):
    """A table: what is shared, what differs between rows, between columns, and between seeds."""

    name: str = Field("experiment", pattern=r"^[A-Za-z0-9._-]+$")
    description: str = ""
    recipe: dict[str, Any] = Field(default_factory=dict, description="what all cells share, as in a recipe")
    rows: dict[str, tuple[str, ...]] = Field(min_length=1, description="overrides of each row, as after --set")
    axis: AxisConfig
    seeds: PositiveInt = 3
    seed_keys: tuple[str, ...] = Field(("seed",), description="keys that the number of the seed is added to")
    heads: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="multi-label data: options of `labelwise cft` for each head"
    )
    reference: str | None = Field(None, description="row that the others are compared with; default: the first")

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        if self.reference is not None and self.reference not in self.rows:
            raise ValueError(f"reference: {self.reference!r} is not one of the rows {', '.join(self.rows)}")
        if BASE in self.heads:
            raise ValueError(f"heads: {BASE!r} is the network itself; choose another name")
        if len({options.get("objective", "ap") for options in self.heads.values()}) > 1:
            raise ValueError("heads: one table has one metric; give all heads the same objective")
        return self


@dataclass(frozen=True)
class Cell:
    """One run: a row, the place of its column's value, and the number of its seed."""

    row: str
    column: int
    seed: int


def load_experiment(path: Path, overrides: list[str] | None = None) -> ExperimentConfig:
    """Read an experiment and check every cell's recipe before anything runs.

    Raises
    ------
    ConfigError
        With the key's full name.
    """
    config = resolve(ExperimentConfig, read_mapping(path), overrides or [])
    for cell in _cells(config):
        cell_recipe(config, cell)
    for head, options in config.heads.items():
        resolve(CftConfig, {"features": "", **options}, prefix=f"heads.{head}")
    return config


def cell_recipe(config: ExperimentConfig, cell: Cell) -> Recipe:
    """The recipe of one run.

    Raises
    ------
    ConfigError
        As :func:`labelwise.config.load_recipe`.
    """
    changes = [*config.rows[cell.row], f"{config.axis.key}={json.dumps(config.axis.values[cell.column])}"]
    shared = resolve(Recipe, copy.deepcopy(config.recipe), changes, prefix="recipe")
    seeds = [f"{key}={_whole_number(shared, key) + cell.seed}" for key in config.seed_keys]
    return resolve(Recipe, copy.deepcopy(config.recipe), [*changes, *seeds, "seeds=1"], prefix="recipe")


def _whole_number(recipe: Recipe, key: str) -> int:
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name, None)
    if not isinstance(value, int):
        raise ConfigError(f"seed_keys: {key!r} is no whole number of a recipe")
    return value


def run_experiment(config: ExperimentConfig, out: Path, *, jobs: int = 1, quiet: bool = False) -> dict[str, Any]:
    """Run every cell that is not finished, then make the table.

    Parameters
    ----------
    config : see :class:`ExperimentConfig`
    out : folder; an existing one of the same experiment is continued
    jobs : cells that run at once, each in a process of its own

    Returns
    -------
    the content of ``results.json``

    Raises
    ------
    LabelwiseError
        Of the first cell that fails; the others' results stay.
    """
    mark = fingerprint(config.model_dump(mode="json", exclude={"seeds", "description"}))
    if (out / RUN).exists() and read_json(out / RUN).get("fingerprint") != mark:
        raise RunError(f"{out}: holds another experiment; give another --out or delete it")
    about = {"schema": SCHEMA, "kind": "experiment", "version": labelwise.__version__, "fingerprint": mark}
    about |= {"environment": environment(), "command": " ".join(["labelwise", *sys.argv[1:]])}
    write_json(out / RUN, about | {"description": config.description, "jobs": jobs})
    atomic_write(out / CONFIG, dump_yaml(config).encode())
    cells = list(_cells(config))
    started = time.monotonic()
    for done, (cell, words) in enumerate(_run_all(config, cells, out, jobs), start=1):
        if not quiet:
            place = f"{config.axis.key} {config.axis.values[cell.column]}, {cell.row}, seed {cell.seed}"
            print(f"{done} of {len(cells)}: {place}: {words}", file=sys.stderr, flush=True)
    if not quiet:
        print("all cells are finished; intervals of their differences on test ...", file=sys.stderr, flush=True)
    results = {
        "schema": SCHEMA,
        "kind": "experiment",
        "name": config.name,
        "description": config.description,
        "axis": config.axis.model_dump(mode="json"),
        "rows": list(config.rows),
        "heads": [BASE, *config.heads],
        "reference": _reference(config),
        "seeds": config.seeds,
        "table": _table(config, out),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(out / RESULTS, results)
    return read_json(out / RESULTS)


# One cell


def run_cell(config: ExperimentConfig, cell: Cell, out: Path) -> str:
    """Train, then fine-tune in every way; what is finished is only read. Returns the scores on test in words."""
    folder = _folder(config, cell, out)
    recipe = cell_recipe(config, cell)
    results = refine(recipe, folder, quiet=True)
    row = _last(results)
    metric = _metric(config, results["task"] == "multi-label")
    words = [f"{metric} {row['test'][metric]:.4f}"]
    if config.heads:
        features = folder / "features"
        extract_features(str(folder / row["path"]), recipe, features, quiet=True)
        for head, options in config.heads.items():
            tuned = resolve(CftConfig, {"features": str(features), "seed": recipe.seed, **options})
            found = run_cft(tuned, folder / f"cft-{head}", quiet=True)
            words.append(f"{head} {found['mean']['test']['after']:.4f}")
    return ", ".join(words)


def _run_all(config: ExperimentConfig, cells: list[Cell], out: Path, jobs: int) -> Iterator[tuple[Cell, str]]:
    if jobs == 1:
        for cell in cells:
            yield cell, run_cell(config, cell, out)
        return
    # A fresh interpreter for each worker: torch's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(run_cell, config, cell, out): cell for cell in cells}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except LabelwiseError:
            pool.shutdown(cancel_futures=True)
            raise


def _cells(config: ExperimentConfig) -> Iterator[Cell]:
    """Seed by seed, so that a table is whole for the first seeds early."""
    for seed in range(config.seeds):
        for column in range(len(config.axis.values)):
            for row in config.rows:
                yield Cell(row, column, seed)


def _folder(config: ExperimentConfig, cell: Cell, out: Path) -> Path:
    return out / "cells" / str(config.axis.values[cell.column]) / cell.row / f"seed-{cell.seed}"


def _last(results: dict[str, Any]) -> dict[str, Any]:
    """The network that a chain ends with."""
    return [row for row in results["rows"] if row["role"] == "generation"][-1]


# The table


def _table(config: ExperimentConfig, out: Path) -> list[dict[str, Any]]:
    """An entry for each column, row and head; then one for each row and head over all columns (``column`` None)."""
    found: list[dict[str, Any]] = []
    runs: dict[tuple[str, str, int], list[_Kept]] = {}
    for column in range(len(config.axis.values)):
        dataset = _dataset(config, column)
        metric = _metric(config, dataset.table is not None)
        compared = Comparison(dataset, _objective(config))
        for row, head in product(config.rows, (BASE, *config.heads)):
            cells = (Cell(row, column, seed) for seed in range(config.seeds))
            runs[row, head, column] = [_kept(_folder(config, cell, out), head, metric, compared) for cell in cells]
        for row, head in product(config.rows, (BASE, *config.heads)):
            entry = _entry(row, head, metric, runs[row, head, column])
            for name, other in _others(config, row, head).items():
                before, after = runs[*other, column], runs[row, head, column]
                gain, interval = compared.gain([run.measured for run in before], [run.measured for run in after])
                entry[name] = {"gain": gain, "interval": list(interval)}
            found.append({"column": column, "value": config.axis.values[column]} | entry)
    return found + _averages(config, found)


@dataclass(frozen=True)
class _Kept:
    """Of one finished run: scores, seconds, and what differences are taken of."""

    select: float | None
    test: float
    seconds: float
    measured: NDArray[np.float64]


def _kept(folder: Path, head: str, metric: str, compared: Comparison) -> _Kept:
    if head == BASE:
        row = _last(read_json(folder / RESULTS))
        select = row["select"][metric] if "select" in row else None
        return _Kept(select, row["test"][metric], row["seconds"], compared.read(folder / row["path"]))
    found = read_json(folder / f"cft-{head}" / RESULTS)
    with np.load(folder / f"cft-{head}" / HEAD_PREDICTIONS) as stored:
        measured = compared.measure(stored["logits"][stored["split"] == "test"])
    return _Kept(found["mean"]["select"]["after"], found["mean"]["test"]["after"], found["seconds"], measured)


def _entry(row: str, head: str, metric: str, runs: list[_Kept]) -> dict[str, Any]:
    tests = [run.test for run in runs]
    return {
        "row": row,
        "head": head,
        "metric": metric,
        "select": _spread([run.select for run in runs if run.select is not None]),
        "test": _spread(tests),
        "by_seed": tests,
        "seconds": _spread([run.seconds for run in runs]),
    }


def _averages(config: ExperimentConfig, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the columns, seed by seed. Columns are not independent, so there is no interval."""
    found = []
    for row, head in product(config.rows, (BASE, *config.heads)):
        own = [entry for entry in table if (entry["row"], entry["head"]) == (row, head)]
        by_seed = np.mean([entry["by_seed"] for entry in own], axis=0).tolist()
        entry = {"column": None, "value": "mean", "row": row, "head": head, "metric": own[0]["metric"]}
        found.append(entry | {"test": _spread(by_seed), "by_seed": by_seed})
    return found


def _others(config: ExperimentConfig, row: str, head: str) -> dict[str, tuple[str, str]]:
    """What a row's head is compared with: the reference row as it is trained, and its own network."""
    others = {"over_reference": (_reference(config), BASE), "over_base": (row, BASE)}
    return {name: other for name, other in others.items() if other != (row, head)}


def _objective(config: ExperimentConfig) -> Metric:
    objectives = {str(options.get("objective", "ap")) for options in config.heads.values()}
    return "auc" if objectives == {"auc"} else "ap"


def _metric(config: ExperimentConfig, multi_label: bool) -> str:
    """The score of a row that the table is about."""
    if not multi_label:
        return "top1"
    return "mauc" if _objective(config) == "auc" else "map"


def _reference(config: ExperimentConfig) -> str:
    return config.reference or next(iter(config.rows))


def _dataset(config: ExperimentConfig, column: int) -> Dataset:
    """Of the test labels alone, so nothing is decoded; all cells of a column must have the same test split."""
    recipe = cell_recipe(config, Cell(_reference(config), column, 0))
    return load_dataset(recipe.data.model_copy(update={"memory": "no"}))


def _spread(values: list[float]) -> dict[str, float | None] | None:
    """Mean and sample standard deviation."""
    if not values:
        return None
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}
