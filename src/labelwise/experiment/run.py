"""Runs the cells of an experiment, several at once where asked, then makes its table."""

from __future__ import annotations

import itertools
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from labelwise import interrupts
from labelwise.cft.run import run_cft
from labelwise.config import CftConfig, own_networks
from labelwise.errors import ConfigError, RunError
from labelwise.experiment.config import Cell, ExperimentConfig, all_cells, cell_folder, cell_recipe
from labelwise.experiment.row_scores import score_of, scored_row
from labelwise.experiment.table import make_scorer, make_table
from labelwise.features.extract import write_features
from labelwise.features.job import FeaturesRequest
from labelwise.models.backbone import ModelSource
from labelwise.progress import Progress
from labelwise.refinery.chain import refine
from labelwise.results import CftResults, ExperimentResults, RefineResults, read_results_as
from labelwise.results.experiment import table_metric
from labelwise.runs import RESULTS, fingerprint, start_run
from labelwise.settings import resolve

NETWORKS = "networks"
"""Folder of the networks that cells have in common."""

FRESH = multiprocessing.get_context("spawn")
"""How the processes of cells start: torch's threads do not survive a fork."""

OF_THE_TABLE_ALONE = {"seeds", "description", "claim", "score", "ensembles", "best", "compare", "reference"}
"""What may change without any cell being another one."""


def run_experiment(config: ExperimentConfig, out: Path, *, jobs: int = 1, quiet: bool = False) -> ExperimentResults:
    """Run every cell that is not finished, then make the table.

    Parameters
    ----------
    config : see :class:`ExperimentConfig`
    out : folder; an existing one of the same cells is continued, also when what is told of them is another
    jobs : cells that run at once, each in a process of its own
    quiet : no progress

    Returns
    -------
    the content of ``results.json``

    Raises
    ------
    LabelwiseError
        Of the first cell that fails; the others' results stay. Before anything runs, if the data of the first column
        lacks what is to be scored.
    """
    make_scorer(config, 0)
    facts = {"description": config.description, "jobs": jobs}
    run = start_run(out, "experiment", {"experiment": identity_of(config)}, config, facts=facts)
    cells = list(all_cells(config))
    started = time.monotonic()
    before = {cell for cell in cells if (cell_folder(config, cell, out) / RESULTS).exists()}
    samples: dict[int, str] = {}
    with Progress("cells", quiet=quiet) as progress:
        progress.start(len(cells), before=len(before))
        for cell, told in _run_all(config, cells, out, jobs):
            place = ", ".join(filter(None, [config.columns[cell.column].title, cell.row, f"seed {cell.seed}"]))
            progress.report(f"{place}: {told.words}", worked=cell not in before)
            _refuse_other_samples(told.test_samples, cell, samples, place)
    if not quiet:
        print("all cells are finished; intervals of their differences on test ...", file=sys.stderr, flush=True)
    table = make_table(config, out)
    results = table.model_copy(update={"seconds": round(time.monotonic() - started, 1)})
    run.finish(results)
    return results


def identity_of(config: ExperimentConfig) -> str:
    """Of all that cells depend on; not of where the data are (``${NAME}`` stays as it is) and how they are read."""
    values = config.model_dump(mode="json", exclude=OF_THE_TABLE_ALONE, exclude_defaults=True)
    recipe = {key: value for key, value in values.get("recipe", {}).items() if key != "threads"}
    if isinstance(recipe.get("data"), dict):
        recipe["data"] = {key: value for key, value in recipe["data"].items() if key not in ("workers", "memory")}
    return fingerprint(values | {"recipe": recipe})


@dataclass(frozen=True)
class FinishedCell:
    """The scores of a cell on test in words, and the hash of its test samples."""

    words: str
    test_samples: str | None


def run_cell(config: ExperimentConfig, cell: Cell, out: Path) -> FinishedCell:
    """Train, then fine-tune in every way; what is finished is only read."""
    folder = cell_folder(config, cell, out)
    recipe = cell_recipe(config, cell)
    refine(recipe, folder, quiet=True, network_cache=out / NETWORKS)
    results = read_results_as(folder, RefineResults)
    row, numbers = results.last_generation, scored_row(results)
    metric = table_metric(results.task, config.metric)
    words = [f"{metric} {_written(score_of(numbers, f'test.{metric}'))}"]
    words += [f"no {name}" for name in config.score.extra if score_of(numbers, name) is None]
    if config.heads:
        features = folder / "features"
        source = ModelSource(str(folder / row.path), trust=own_networks(recipe))
        write_features(FeaturesRequest(source, recipe), features, quiet=True)
        for head, options in config.heads.items():
            tuned = folder / f"cft-{head}"
            run_cft(resolve(CftConfig, {"features": str(features), "seed": recipe.seed, **options}), tuned, quiet=True)
            test = read_results_as(tuned, CftResults).mean.test
            words.append(f"{head} {_written(None if test is None else test.after)}")
    return FinishedCell(", ".join(words), row.test_samples)


def _written(score: float | None) -> str:
    return "not defined" if score is None else f"{score:.4f}"


def _refuse_other_samples(own: str | None, cell: Cell, samples: dict[int, str], place: str) -> None:
    """All cells of a column are scored on the same test samples, or no difference of two would mean anything."""
    if own is not None and samples.setdefault(cell.column, own) != own:
        raise ConfigError(
            f"{place}: has other test samples than the cells before it; no row and no seed may change them, as"
            " data.split_seed does"
        )


def _run_all(config: ExperimentConfig, cells: list[Cell], out: Path, jobs: int) -> Iterator[tuple[Cell, FinishedCell]]:
    if jobs == 1:
        for cell in cells:
            yield cell, run_cell(config, cell, out)
        return
    todo = iter(cells)
    running: dict[Future[FinishedCell], Cell] = {}
    with (
        ProcessPoolExecutor(jobs, mp_context=FRESH, initializer=interrupts.end_with_parent) as pool,
        interrupts.helpers_ended(),
    ):
        while True:
            # No cell waits in the pool: when one fails, those that run are the last.
            for cell in itertools.islice(todo, jobs - len(running)):
                with interrupts.held_back():
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
