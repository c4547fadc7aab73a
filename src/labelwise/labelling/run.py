"""``labelwise label``: a store is made shard by shard, and what tools read of it is written when all are there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelwise.errors import DataError
from labelwise.half_files import remove_halves
from labelwise.labelling.estimate import Estimate, estimate
from labelwise.labelling.job import LabelJob, LabelRequest
from labelwise.results import LabelResults
from labelwise.runs import RESULTS, RUN, about_run, write_json
from labelwise.sharding.part import Part
from labelwise.sharding.run import Engine, ShardMap, make_shards, open_map
from labelwise.store.reader import Store

MEASURED = 65_536
"""Crops that the mean probability of the kept classes is measured on, at most."""


@dataclass(frozen=True)
class LabelRun:
    """A store that can be made, and what is left of it for one part of the work."""

    request: LabelRequest
    shards: ShardMap[LabelJob]
    estimate: Estimate


def prepare(request: LabelRequest, out: Path, part: Part = Part(), processes: int = 1) -> LabelRun:  # noqa: B008
    """Open everything, look what is finished, and estimate the rest. Nothing is written.

    Raises
    ------
    LabelwiseError
        If the networks cannot label the data, or ``out`` holds anything but the same store.
    """
    shards = open_map(request, out, part, processes)
    return LabelRun(request, shards, estimate(shards, request.recipe.data.decoders))


def label(run: LabelRun, *, engine: Engine | None = None, quiet: bool = False) -> LabelResults | None:
    """Make the shards of a part; whoever finds all shards finished writes what tools read of the store.

    Returns
    -------
    the content of ``results.json``; None while shards of other parts are missing

    Raises
    ------
    LabelwiseError
        If an image cannot be read, a refinery answers with NaN, or the folder cannot be written.
    """
    seconds = make_shards(run.shards, "label", "crops", engine=engine, quiet=quiet)
    request, out, header = run.request, run.shards.out, run.shards.job.header
    try:
        store = Store(out)
    except DataError:
        return None
    results = _results(store, seconds, run.shards.left)
    if run.shards.todo or not (out / RESULTS).exists():
        remove_halves(out)
        sources = {"models": list(request.models), "recipe": request.recipe.model_dump(mode="json")}
        write_json(out / RUN, about_run("label", {"store": header.hash}, sources), sealed=True)
        write_json(out / RESULTS, results.to_json())
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
