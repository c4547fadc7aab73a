"""Runs the cells of an experiment, several at once where asked, then makes its table."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from labelwise.cft.run import run_cft
from labelwise.config import CftConfig
from labelwise.errors import ConfigError, RunError
from labelwise.experiment.config import BASE, Cell, ExperimentConfig, all_cells, cell_folder, cell_recipe
from labelwise.experiment.row_scores import score_of
from labelwise.experiment.table import board_of, make_table, scored_row
from labelwise.features.extract import extract_features
from labelwise.models.backbone import ModelSource
from labelwise.progress import Progress
from labelwise.refinery.chain import refine
from labelwise.results import ExperimentResults
from labelwise.runs import RESULTS, fingerprint, read_json, start_run
from labelwise.settings import resolve

NETWORKS = "networks"
"""Folder of the networks that cells have in common."""

OF_THE_TABLE_ALONE = {"seeds", "description", "claim", "score", "ensembles", "best", "compare", "reference"}
"""What may change without any cell being another one."""


def run_experiment(config: ExperimentConfig, out: Path, *, jobs: int = 1, quiet: bool = False) -> dict[str, Any]:
    """Run every cell that is not finished, then make the table.

    Parameters
    ----------
    config : see :class:`ExperimentConfig`
    out : folder; an existing one of the same cells is continued, also when what is told of them is another
    jobs : cells that run at once, each in a process of its own

    Returns
    -------
    the content of ``results.json``

    Raises
    ------
    LabelwiseError
        Of the first cell that fails; the others' results stay. Before anything runs, if the data of the first column
        lacks what is to be scored.
    """
    board = board_of(config, 0)
    facts = {"description": config.description, "jobs": jobs}
    run = start_run(out, "experiment", {"experiment": _mark(config)}, config, facts=facts)
    cells = list(all_cells(config))
    started = time.monotonic()
    before = {cell for cell in cells if (cell_folder(config, cell, out) / RESULTS).exists()}
    samples: dict[int, str] = {}
    with Progress("cells", quiet=quiet) as progress:
        progress.start(len(cells), before=len(before))
        for cell, words in _run_all(config, cells, out, jobs):
            place = ", ".join(filter(None, [config.columns[cell.column].title, cell.row, f"seed {cell.seed}"]))
            progress.report(f"{place}: {words}", worked=cell not in before)
            _refuse_other_samples(scored_row(read_json(cell_folder(config, cell, out) / RESULTS)), cell, samples, place)
    if not quiet:
        print("all cells are finished; intervals of their differences on test ...", file=sys.stderr, flush=True)
    content = {
        "kind": "experiment",
        "name": config.name,
        "description": config.description,
        "claim": config.claim,
        "axis": [axis.model_dump() for axis in config.axis],
        "columns": [column.title for column in config.columns],
        "rows": [*config.rows, *(ensemble.name for ensemble in config.ensembles)],
        "heads": [BASE, *config.heads],
        "best": [
            {"name": best.name, "rows": list(best.rows), "reference": config.reference_of(best.name)}
            for best in config.best
        ],
        "extra": list(config.score.extra),
        "reference": config.reference_row,
        "seeds": config.seeds,
        "metric": board.metric,
        "unit": config.score.unit,
        **make_table(config, out),
        "seconds": round(time.monotonic() - started, 1),
    }
    results = ExperimentResults.model_validate(content)
    run.finish(results)
    return results.to_json()


def _mark(config: ExperimentConfig) -> str:
    """Of all that cells depend on; not of where the data are (``${NAME}`` stays as it is) and how they are read."""
    values = config.model_dump(mode="json", exclude=OF_THE_TABLE_ALONE, exclude_defaults=True)
    recipe = {key: value for key, value in values.get("recipe", {}).items() if key != "threads"}
    if isinstance(recipe.get("data"), dict):
        recipe["data"] = {key: value for key, value in recipe["data"].items() if key not in ("workers", "memory")}
    return fingerprint(values | {"recipe": recipe})


def run_cell(config: ExperimentConfig, cell: Cell, out: Path) -> str:
    """Train, then fine-tune in every way; what is finished is only read. Returns the scores on test in words."""
    folder = cell_folder(config, cell, out)
    recipe = cell_recipe(config, cell)
    results = refine(recipe, folder, quiet=True, network_cache=out / NETWORKS)
    row = scored_row(results)
    metric = {"ap": "map", "auc": "mauc"}[config.metric] if results["task"] == "multi-label" else "top1"
    words = [f"{metric} {row['test'][metric]:.4f}"]
    words += [f"no {name}" for name in config.score.extra if score_of(row, name) is None]
    if config.heads:
        features = folder / "features"
        extract_features(ModelSource(str(folder / row["path"])), recipe, features, quiet=True)
        for head, options in config.heads.items():
            tuned = resolve(CftConfig, {"features": str(features), "seed": recipe.seed, **options})
            found = run_cft(tuned, folder / f"cft-{head}", quiet=True)
            words.append(f"{head} {found['mean']['test']['after']:.4f}")
    return ", ".join(words)


def _refuse_other_samples(row: dict[str, Any], cell: Cell, samples: dict[int, str], place: str) -> None:
    """All cells of a column are scored on the same test samples, or no difference of two would mean anything."""
    own = row.get("test_samples")
    if own is not None and samples.setdefault(cell.column, own) != own:
        raise ConfigError(
            f"{place}: has other test samples than the cells before it; no row and no seed may change them, as"
            " data.split_seed does"
        )


def _run_all(config: ExperimentConfig, cells: list[Cell], out: Path, jobs: int) -> Iterator[tuple[Cell, str]]:
    if jobs == 1:
        for cell in cells:
            yield cell, run_cell(config, cell, out)
        return
    # A fresh interpreter for each worker: torch's threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    todo = iter(cells)
    running: dict[Future[str], Cell] = {}
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_end_with_parent) as pool:
        while True:
            # No cell waits in the pool: when one fails or the user stops, those that run are the last.
            for cell in itertools.islice(todo, jobs - len(running)):
                running[pool.submit(run_cell, config, cell, out)] = cell
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                try:
                    yield cell, future.result()
                except BrokenProcessPool:
                    raise RunError(
                        "a process ended without a word; is there enough memory for so many --jobs? The same command"
                        " goes on where this one was"
                    ) from None


def _end_with_parent() -> None:
    """In a worker: a run that is killed leaves nobody behind who trains on in its folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
