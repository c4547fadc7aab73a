"""Run every sample through the backbone once, and write features and labels to a folder.

``labelwise.extract_features`` is for Python, :func:`write_features` for the command ``features``: it shares the work.
"""

from __future__ import annotations

from pathlib import Path

import torch

from labelwise.config import FeaturePrecision, Recipe, check_choice, data_recipe
from labelwise.errors import ConfigError
from labelwise.features.file import MARKER, FeatureSet, finish_folder, read_features
from labelwise.features.job import FeaturesJob, FeaturesRequest
from labelwise.half_files import remove_halves
from labelwise.models.backbone import ModelSource
from labelwise.results import FeaturesResults, Splits, read_results_as
from labelwise.runs import RESULTS, read_json, write_json
from labelwise.sharding.part import Part
from labelwise.sharding.run import Engine, ShardMap, make_shards, open_map


def extract_features(
    model: str | Path,
    data: str | Path | Recipe,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    pretrained: bool = False,
    keep_head: bool = False,
    trust_code: bool = False,
    quiet: bool = False,
) -> FeatureSet:
    """Compute what the last layer of a network sees of every sample, once.

    Parameters
    ----------
    model : checkpoint folder, such as RUN/best; or the name of a network, with ``weights`` or ``pretrained``
    data : a data source such as ``digits`` or a path; a recipe file (.yaml), or a recipe
    out : the folder to write; a killed run is continued, a finished one is read
    weights : file with the weights of a network by name
    pretrained : take the weights that the library of a network by name publishes
    keep_head : the outputs of a network by name are the categories of the data, in their order
    trust_code : whether code that the checkpoint names as its network may be run
    quiet : show no progress

    Returns
    -------
    features (N, D) in float16 with labels (N, C), splits, and the head where the network's outputs are the categories
    of the data; large arrays are memory-mapped

    Raises
    ------
    LabelwiseError
        If network and data do not fit, the folder holds other features, or a feature does not fit into float16.
    """
    recipe = data if isinstance(data, Recipe) else data_recipe(data)
    source = ModelSource(str(model), None if weights is None else Path(weights), pretrained, trust=trust_code)
    write_features(FeaturesRequest(source, recipe, keep_head), Path(out), quiet=quiet)
    return read_features(out)


def write_features(
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
