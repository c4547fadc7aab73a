"""The two halves joined, for multi-label images of which few labels are known: network, features, a better head.

Start at :func:`train_and_fine_tune`. Below it are the demonstration's data: digits, and what can be said of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.cft.run import run_cft
from labelwise.config import CftConfig, DataConfig, ModelConfig, Recipe, TrainConfig, UnknownPolicy, ViewConfig
from labelwise.data.dataset import PixelArray
from labelwise.data.readers import load_dataset, views_of
from labelwise.errors import DataError
from labelwise.features.extract import extract_features
from labelwise.labels.protocols import keep_uniform
from labelwise.labels.table import LabelTable
from labelwise.models.backbone import ModelSource
from labelwise.refinery.chain import make_context
from labelwise.refinery.checks import check_learning
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.network import check_networks, train_network
from labelwise.results import CftResults, Row
from labelwise.runs import atomic_write, start_run
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
    start_run(out, "cft", {})  # what makes two such runs the same, run_cft says when there are features
    networks = {spec.name: train_network(context, spec) for spec in specs}
    features = out / dataset.name
    extract_features(ModelSource(str(out / BASE)), recipe, features, quiet=quiet)
    results = run_cft(CftConfig(features=str(features), seed=recipe.seed), out, quiet=quiet)
    return FineTuned(results, networks)


# The demonstration

DATA = "digit-attributes"
KNOWN = 0.1

ATTRIBUTES = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "square number": (0, 1, 4, 9),
    "multiple of three": (0, 3, 6, 9),
    "five or more": (5, 6, 7, 8, 9),
    "a closed loop": (0, 6, 8, 9),
    "two closed loops": (8,),
    "straight strokes only": (1, 4, 7),
    "curves only": (0, 3, 6, 8),
    "flat top": (5, 7),
    "flat foot": (2,),
    "same upside down": (0, 1, 8),
}
"""What is true of which digits, as they are usually written."""

DEMO_NOTE = (
    f"The same digits as multi-label data: {len(ATTRIBUTES)} attributes of each. [bold]Simulated:[/] of the labels to "
    f"learn from, a random {1 - KNOWN:.0%} are hidden; select and test are fully known. A network is trained with "
    "unknown labels taken for negative; then every category's row of its head is re-fitted on the known labels."
)


def demo(out: Path, *, known: float = KNOWN, seed: int = 0, quiet: bool = False) -> FineTuned:
    """:func:`train_and_fine_tune` on :func:`write_digit_attributes`; ``seed`` draws known labels and networks."""
    start_run(out, "cft", {})
    data = out / f"{DATA}.npz"
    write_digit_attributes(data, known, seed)
    return train_and_fine_tune(demo_recipe(data, seed), out, quiet=quiet)


def write_digit_attributes(path: Path, known: float, seed: int) -> None:
    """Write scikit-learn's digits as a multi-label .npz; of the labels of ``fit``, only a share ``known`` is kept."""
    digits = load_dataset(DataConfig(source="digits", select_share=0.25))
    assert isinstance(digits.source, PixelArray)
    true = np.stack([np.isin(digits.label, members) for members in ATTRIBUTES.values()], axis=1)
    table = LabelTable.from_wire(true, tuple(ATTRIBUTES))
    keep = keep_uniform(table, known, seed) | (digits.split != "fit")[:, None]
    arrays: dict[str, Any] = {
        "images": digits.source.pixels,
        "labels": table.hide(keep).to_wire(),
        "categories": np.array(table.categories),
        "split": digits.split,
        "ids": digits.ids,
    }
    atomic_write(path, lambda file: np.savez_compressed(file, **arrays))


def demo_recipe(data: Path, seed: int) -> Recipe:
    """Epochs and rate are those at which the network itself, before fine-tuning, ranks ``select`` best."""
    return Recipe(
        name="demo-cft",
        seed=seed,
        threads=1,
        data=DataConfig(source=str(data)),
        views=ViewConfig(size=8, scale=(0.9, 1.0), flip=False),
        model=ModelConfig(name="small-narrow"),
        train=TrainConfig(epochs=20, batch_size=64, lr=0.8, channels_last=False),
    )


def control_line(found: FineTuned) -> str:
    """The fine-tuned head beside the same network trained again without the wrong negatives, whichever is better.

    Parameters
    ----------
    found : of a run on data with a test split
    """
    means, control = found.results.mean.test, found.networks[CONTROL]
    tuned = None if means is None else means.after
    again = None if control.test is None else control.test.map
    if tuned is None or again is None:
        return "Control: nothing to compare, since no category can be scored on test."
    verdict = "training again is better here" if again > tuned else "training again is no better here"
    return (
        f"Control: the same network trained from scratch on the known labels alone has {again:.2%} mAP on test, the "
        f"re-fitted head {tuned:.2%}: {verdict}. It took {control.seconds:.1f} s and another backbone, fine-tuning "
        f"{found.results.stages['solve']:.1f} s and the old one."
    )
