"""The two halves joined, for multi-label images of which few labels are known: network, features, a better head.

Start at :func:`train_and_fine_tune`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labelwise.cft.run import run_cft
from labelwise.config import CftConfig, Recipe, UnknownPolicy, own_networks
from labelwise.data.readers import load_dataset, views_of
from labelwise.errors import DataError
from labelwise.features.extract import write_features
from labelwise.features.job import FeaturesRequest
from labelwise.models.backbone import ModelSource
from labelwise.refinery.chain import make_context
from labelwise.refinery.checks import check_learning
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.network import check_networks, train_network
from labelwise.results import CftResults, Row
from labelwise.runs import start_run
from labelwise.training.runtime import start_runtime

BASE, CONTROL = "assume-negative", "ignore"
"""The network whose head is re-fitted, and the same network trained on the known labels alone."""

STREAM = "network"


@dataclass(frozen=True)
class FineTuned:
    """The results of a CFT run, and the rows of the two networks before it, by name."""

    results: CftResults
    networks: dict[str, Row]


def train_and_fine_tune(recipe: Recipe, out: Path, *, quiet: bool = False) -> FineTuned:
    """Train on partly labelled data with unknown labels taken for negative, then re-fit every category's head.

    The run folder is that of ``labelwise cft``; beside its files lie the two networks, and the features under the name
    of the data. What is finished is skipped, what was interrupted goes on.

    Parameters
    ----------
    recipe : of which seed, threads, data, views, model and train count
    out : the run folder

    Returns
    -------
    the results, and the scores of the two networks on select and test

    Raises
    ------
    LabelwiseError
        If the data are not multi-label, or the folder holds another run.
    """
    runtime = start_runtime(recipe)
    dataset = load_dataset(recipe.data)
    if dataset.table is None:
        raise DataError(f"{dataset.name}: one class per sample; use `labelwise refine`")
    recipe = recipe.model_copy(update={"views": views_of(recipe.data, recipe.views)})
    context = make_context(recipe, dataset, runtime, out, recipe.seed, quiet)
    policies: dict[str, UnknownPolicy] = {BASE: "negative", CONTROL: "ignore"}
    specs = []
    for name, unknown in policies.items():
        labels = recipe.labels.model_copy(update={"unknown": unknown})
        # One stream of randomness for both, so that only the labels differ.
        specs.append(NetworkSpec(name, "network", recipe.model, recipe.train, labels=labels, stream=STREAM))
    for spec in specs:
        check_learning(recipe, dataset, spec)
    check_networks(context, specs)
    run = start_run(out, "cft", {})  # what makes two such runs the same, run_cft says when there are features
    networks = {spec.name: train_network(context, spec) for spec in specs}
    features = out / dataset.name
    source = ModelSource(str(out / BASE), trust=own_networks(recipe))
    write_features(FeaturesRequest(source, recipe), features, quiet=quiet)
    results = run_cft(CftConfig(features=str(features), seed=recipe.seed), out, quiet=quiet)
    del run  # its lock was held until here
    return FineTuned(results, networks)
