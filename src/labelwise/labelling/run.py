"""``labelwise label``: a map over numbered shards. Any process may make any of them, in any order, also twice."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from labelwise.errors import DataError
from labelwise.half_files import remove_halves
from labelwise.labelling.estimate import Estimate, estimate
from labelwise.labelling.job import LabelJob, LabelRequest, open_job
from labelwise.labelling.part import Part
from labelwise.labelling.processes import make_in_processes, make_on_ray
from labelwise.progress import Progress
from labelwise.results import LabelResults
from labelwise.runs import RESULTS, RUN, about_run, write_json
from labelwise.store.header import claim
from labelwise.store.making import is_finished, make_shard
from labelwise.store.reader import Store

MEASURED = 65_536
"""Crops that the mean probability of the kept classes is measured on, at most."""


@dataclass(frozen=True)
class LabelRun:
    """A store that can be made, and the shards ``todo`` that one part of the work still lacks."""

    job: LabelJob
    out: Path
    part: Part
    todo: tuple[int, ...]
    processes: int
    estimate: Estimate


def prepare(request: LabelRequest, out: Path, part: Part = Part(), processes: int = 1) -> LabelRun:  # noqa: B008
    """Open everything, look what is finished, and estimate the rest. Nothing is written.

    Raises
    ------
    LabelwiseError
        If the networks cannot label the data, or ``out`` holds anything but the same store.
    """
    job = open_job(request)
    header = job.work.header
    claim(out, header, write=False)
    todo = tuple(n for n in part.of(range(header.shards)) if not is_finished(header, out, n))
    return LabelRun(job, out, part, todo, processes, estimate(job, todo, processes))


def label(run: LabelRun, *, engine: Literal["ray"] | None = None, quiet: bool = False) -> LabelResults | None:
    """Make the shards of a part; whoever finds all shards finished writes what tools read of the store.

    Parameters
    ----------
    engine : what makes the shards; None: this process, or several of this machine

    Returns
    -------
    the content of ``results.json``; None while shards of other parts are missing

    Raises
    ------
    LabelwiseError
        If an image cannot be read, a refinery answers with NaN, or the folder cannot be written.
    """
    header, started = run.job.work.header, time.monotonic()
    request, processes = run.job.request, min(run.processes, len(run.todo))
    claim(run.out, header)
    with Progress("label", "crops", quiet=quiet) as progress:
        progress.start(run.estimate.crops_left)

        def advance(crops: int) -> None:
            progress.advance(crops)
            progress.show()

        if engine == "ray":
            make_on_ray(request, run.out, run.todo, advance)
        elif processes > 1:
            make_in_processes(request, run.out, run.todo, processes, advance)
        else:
            for number in run.todo:
                make_shard(run.job.work, run.out, number, advance)
    return finish(run, time.monotonic() - started)


def finish(run: LabelRun, seconds: float) -> LabelResults | None:
    """Write ``results.json`` and ``run.json`` if all shards are there; None otherwise."""
    header, request = run.job.work.header, run.job.request
    try:
        store = Store(run.out)
    except DataError:
        return None
    results = _results(store, seconds, run.estimate.crops_left)
    if run.todo or not (run.out / RESULTS).exists():
        remove_halves(run.out)
        sources = {"models": list(request.models), "recipe": request.recipe.model_dump(mode="json")}
        write_json(run.out / RUN, about_run("label", {"store": header.hash}, sources), sealed=True)
        write_json(run.out / RESULTS, results.to_json())
    return results


def _results(store: Store, seconds: float, labelled: int) -> LabelResults:
    header, layout = store.header, store.layout
    crops = header.samples * header.views_per_sample
    size = sum(shard.path.stat().st_size for shard in store.shards)
    entries = sum(len(shard.entries) for shard in store.shards)
    place = np.linspace(0, crops - 1, min(crops, MEASURED)).astype(np.int64)
    mass = None
    if not layout.multi_label:
        labels = store.read(place // header.views_per_sample, place % header.views_per_sample).labels
        mass = float(np.exp(labels.values.astype(np.float64)).sum(1).mean())
    return LabelResults(
        kind="label",
        task=header.task,
        classes=len(header.classes),
        samples=header.samples,
        views=header.views_per_sample,
        crops=crops,
        k=header.k,
        shards=header.shards,
        bytes=size,
        bytes_per_crop=size / crops,
        mean_classes=header.k if layout.mass is None else entries / crops,
        mean_mass=mass,
        checksum=hashlib.sha256("".join(shard.digest() for shard in store.shards).encode()).hexdigest()[:16],
        seconds=round(seconds, 3),
        crops_per_second=round(labelled / seconds, 1) if labelled else None,
    )
