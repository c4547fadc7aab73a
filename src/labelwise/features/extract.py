"""``labelwise features``: run every sample through the backbone once, and write features and labels to a folder."""

from __future__ import annotations

from pathlib import Path

import torch

from labelwise.config import FeaturePrecision, check_choice
from labelwise.errors import ConfigError
from labelwise.features.file import MARKER, finish_folder
from labelwise.features.job import FeaturesJob, FeaturesRequest
from labelwise.half_files import remove_halves
from labelwise.results import FeaturesResults, Splits, read_results_as
from labelwise.runs import RESULTS, read_json, write_json
from labelwise.sharding.part import Part
from labelwise.sharding.run import Engine, ShardMap, make_shards, open_map


def extract_features(
    request: FeaturesRequest,
    out: Path,
    part: Part = Part(),  # noqa: B008
    processes: int = 1,
    *,
    engine: Engine | None = None,
    quiet: bool = False,
) -> FeaturesResults | None:
    """Write the features of every sample to the folder ``out``, or continue a killed run. Centre views, eval mode.

    Whoever finds all shards finished writes ``results.json``.

    Parameters
    ----------
    part : the shards that are made here
    processes, engine : what makes them

    Returns
    -------
    the content of ``results.json``; None while shards of other parts are missing

    Raises
    ------
    LabelwiseError
        If network and data do not fit, the folder holds other features, or a feature does not fit into ``precision``.
    """
    check_choice("precision", request.precision, FeaturePrecision)
    if out.suffix == ".npz":
        raise ConfigError(f"--out {out}: features are written to a folder, name one without .npz")
    threads = torch.get_num_threads()
    try:
        work = open_map(request, out, part, processes)
        if (out / RESULTS).exists():
            return read_results_as(out, FeaturesResults)
        seconds = make_shards(work, "features", "samples", engine=engine, quiet=quiet)
    finally:
        torch.set_num_threads(threads)
    return _finish(work, seconds)


def _finish(work: ShardMap[FeaturesJob], seconds: float) -> FeaturesResults | None:
    """Write ``results.json`` if all shards are there."""
    job, out, head = work.job, work.out, work.job.network.head
    markers = [job.folder_of(out, number) / MARKER for number in range(job.shards)]
    if not all(marker.exists() for marker in markers):
        return None
    facts = [read_json(marker) for marker in markers]
    results = FeaturesResults(
        kind="features",
        name=job.dataset.name,
        **{key: value for key, value in job.identity.items() if key != "shard_samples"},
        shards=job.shards,
        splits=Splits(**job.dataset.sizes()),
        rows=len(job.dataset),
        dim=job.network.dim,
        categories=len(job.dataset.classes),
        largest_logit_difference=None if head is None else max(fact["lost"] for fact in facts),
        seconds=seconds,
        images_per_second=work.left / seconds if work.todo else None,
    )
    for folder in (out, *(marker.parent for marker in markers)):
        remove_halves(folder)
    if job.shards > 1:
        finish_folder(out, job.identity | {"rows": results.rows, "dim": results.dim})
    write_json(out / RESULTS, results.to_json())
    return results
