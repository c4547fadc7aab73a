"""What a run refuses, warns of and writes down before anything is trained.

Nothing here needs torch: a mistake in a recipe or in the data is told before torch is loaded, in about a second.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from labelwise.config import Recipe
from labelwise.data.dataset import Dataset
from labelwise.data.readers import load_dataset, views_of
from labelwise.errors import ConfigError, DataError
from labelwise.labels.missingness import in_words, only_positives_known
from labelwise.refinery.generations import Generation, chooses, generation_of
from labelwise.runs import fingerprint

if TYPE_CHECKING:
    from labelwise.models.classifier import InputSpec


def prepare(recipe: Recipe, baselines: bool = False, dataset: Dataset | None = None) -> tuple[Recipe, Dataset]:
    """The recipe with views that fit the data, and the data; whatever can be refused without a network is refused.

    Parameters
    ----------
    recipe : names the data
    baselines : whether the controls are trained, too
    dataset : takes the place of ``recipe.data``

    Raises
    ------
    LabelwiseError
        As :func:`labelwise.data.readers.load_dataset` and :func:`refuse_early`.
    """
    if dataset is None:
        dataset = load_dataset(recipe.data)
        recipe = recipe.model_copy(update={"views": views_of(recipe.data, recipe.views)})
    refuse_early(recipe, dataset, baselines)
    return recipe, dataset


def refuse_early(recipe: Recipe, data: Dataset, baselines: bool) -> None:
    """What would stop a chain after some of its networks have been trained stops it before.

    Raises
    ------
    LabelwiseError
        If a split is missing that is needed, or options do not go together.
    """
    if not len(data.rows("fit")):
        raise DataError(f"{data.name}: there is nothing to train on (the fit split is empty)")
    if not len(data.rows("select")) and (baselines or chooses(recipe)):
        raise DataError(f"{data.name}: nothing is held out to choose with; set data.select_share above 0")
    for number in range(1, recipe.chain.generations + 1):
        generation = generation_of(recipe, number)
        if data.table is not None and generation.train.taxonomy is not None:
            raise ConfigError("train.taxonomy: it spreads the one label of a sample, these have several; leave it out")
        if data.table is None and (generation.labelled_by > 0 or recipe.chain.refinery):
            _refuse_labels(recipe, data, generation)


def _refuse_labels(recipe: Recipe, data: Dataset, generation: Generation) -> None:
    """Of a generation that a refinery labels."""
    options, unseen = generation.refined_labels, recipe.chain.fold_labels == "unseen"
    if generation.train.balance == "class_weights" and options.loss != "kl":
        raise ConfigError(f"train.balance class_weights: it weights the terms of kl; {options.loss} has none")
    if options.jitter.step > 0 and data.is_features:
        raise ConfigError("chain.refined.jitter: it moves pixels, the data are embeddings; leave it out")
    if unseen and (generation.views.mixup > 0 or generation.views.cutmix > 0):
        raise ConfigError("chain.fold_labels unseen: a mixed view is of two samples; set mixup and cutmix to 0")
    if unseen and options.norm == "batch":
        raise ConfigError(
            "chain.refined.norm batch: with fold_labels unseen each refinery sees a part of a batch alone"
        )


def run_facts(recipe: Recipe, data: Dataset, spec: InputSpec) -> dict[str, Any]:
    """What ``run.json`` says of the recipe and its data."""
    noise = recipe.data.noise
    fit = data.rows("fit")
    accuracy = None if data.true_label is None else float((data.label[fit] == data.true_label[fit]).mean())
    return {
        "recipe": recipe.name,
        "recipe_hash": fingerprint(recipe.model_dump(mode="json")),
        "description": recipe.description,
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint(),
            "classes": list(data.classes),
            "sizes": data.sizes(),
            "unreadable": list(data.unreadable),
            "given_label_accuracy": accuracy,
            "simulated_noise": f"{noise.rate:.0%} {noise.kind}" if noise.rate > 0 else None,
            "known": _known_share(data),
            "image": None if data.is_features else {"size": spec.size, "channels": spec.channels},
        },
    }


def warn_of_lonely_positives(data: Dataset) -> None:
    """Where no label is negative, a network that ignores unknown ones learns that everything is positive, and so does
    every network that it refines."""
    if data.table is None:
        return
    if lonely := only_positives_known(data.table.take(data.rows("fit"))):
        print(
            f"warning: no negative label is known of {in_words(lonely, data.table)}: ignoring unknown labels"
            " teaches nothing about them; set labels.unknown=negative",
            file=sys.stderr,
        )


def _known_share(data: Dataset) -> dict[str, Any] | None:
    """Share of the fit labels that is known, and whether others were hidden; None for single-label data."""
    if data.table is None:
        return None
    share = float(data.table.known[data.rows("fit")].mean())
    return {"share": share, "simulated": data.true_table is not None}
