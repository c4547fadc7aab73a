"""What a run refuses, warns of and writes down before anything is trained.

Nothing here needs torch: a mistake in a recipe or in the data is told before torch is loaded, in about a second.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwise.config import CLOSED_FORM, Recipe
from labelwise.data.dataset import Dataset
from labelwise.data.folds import folds_of, rows_without
from labelwise.data.readers import load_dataset, views_of
from labelwise.errors import ConfigError, DataError
from labelwise.labels import strategies
from labelwise.labels.missingness import in_words, only_positives_known
from labelwise.labels.table import LabelTable
from labelwise.labels.taxonomy import read_taxonomy
from labelwise.refinery.controls import control_networks, early_stop_networks
from labelwise.refinery.generations import NetworkSpec, chain_networks, chooses, generation_of
from labelwise.runs import fingerprint
from labelwise.settings import changed

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
    if recipe.chain.store is not None:
        from labelwise.refinery.stored import with_stored_views  # loads torch

        recipe = with_stored_views(recipe, recipe.chain.store)
    refuse_early(recipe, dataset, baselines)
    return recipe, dataset


def refuse_early(recipe: Recipe, data: Dataset, baselines: bool) -> None:
    """What would stop a run after some of its networks have been trained stops it before. Nothing is written.

    Raises
    ------
    LabelwiseError
        If a split is missing that is needed, or a network cannot learn as it is asked to.
    """
    if not len(data.rows("fit")):
        raise DataError(f"{data.name}: there is nothing to train on (the fit split is empty)")
    if not len(data.rows("select")) and (baselines or chooses(recipe)) and recipe.chain.choose == "select":
        raise DataError(
            f"{data.name}: nothing is held out to choose with; set data.select_share above 0, or chain.choose to folds"
        )
    if data.table is None and data.num_classes < 2:
        raise DataError(f"{data.name}: has one class, {data.classes[0]!r}; a classifier needs at least two")
    for tracker in recipe.train.trackers:
        if find_spec(tracker) is None:
            raise ConfigError(f"train.trackers: {tracker} is not installed; pip install {tracker}, or leave it out")
    _refuse_unlabelled_without_use(recipe, data)
    if recipe.chain.unknown.zero_shot is not None:
        _check_zero_shot(recipe, data)
    folds = folds_of(data, recipe.chain.folds, recipe.seed) if recipe.chain.folds > 1 else None
    names: dict[str, NetworkSpec] = {}
    networks = planned_networks(recipe, data, baselines)
    for network in networks:
        if names.setdefault(network.name, network) != network:
            raise ConfigError(f"two different networks of the run would be called {network.name}; change one of them")
        check_learning(recipe, data, network)
        number = len(rows_without(data, folds, network.without_fold))
        if number < 2:
            without = "" if network.without_fold is None else f" without fold {network.without_fold + 1}"
            raise DataError(f"{data.name}: the fit split{without} has {number} samples, training needs at least 2")
    if any(network.store is not None for network in networks):
        from labelwise.refinery.stored import refuse_stored  # loads torch

        refuse_stored(recipe, data, networks)


def _refuse_unlabelled_without_use(recipe: Recipe, data: Dataset) -> None:
    """Unlabelled samples that no network would learn from, and options about samples that are not there."""
    options, count = recipe.chain.unlabelled, len(data.rows("unlabelled"))
    if options.share == 0:
        return
    if count and not any(network.refineries for network in chain_networks(recipe)):
        raise ConfigError(
            f"chain: no network has a refinery to label the {count:,} unlabelled samples; set chain.generations above"
            " 1, or chain.unlabelled.share to 0"
        )
    if not count and changed(options):
        raise ConfigError(
            f"chain.unlabelled: {data.name} has no unlabelled samples; set data.unlabelled, or leave it out"
        )


def _check_zero_shot(recipe: Recipe, data: Dataset) -> None:
    """A network of images and texts that no network would learn from, or nothing can judge."""
    if data.table is None or data.is_features:
        raise ConfigError("chain.unknown.zero_shot: it labels images that can have several categories; leave it out")
    if not any(network.refineries for network in chain_networks(recipe)):
        raise ConfigError("chain.unknown.zero_shot: it labels beside a refinery; set chain.generations above 1")
    if not len(data.rows("select")):
        raise ConfigError("chain.unknown.zero_shot: known labels of select decide; set data.select_share above 0")


def _uses_unlabelled(recipe: Recipe, data: Dataset) -> bool:
    """Whether networks with a refinery learn from unlabelled samples."""
    return recipe.chain.unlabelled.share > 0 and len(data.rows("unlabelled")) > 0


def planned_networks(recipe: Recipe, data: Dataset, baselines: bool) -> list[NetworkSpec]:
    """Every network that a run may train, before any is trained."""
    networks = chain_networks(recipe)
    if recipe.chain.first == "early_stop":
        networks += early_stop_networks(recipe, generation_of(recipe, 1))
    return networks + (control_networks(recipe, data) if baselines else [])


def check_learning(recipe: Recipe, data: Dataset, network: NetworkSpec) -> None:
    """Refuse options of ``network`` that the data or other options forbid.

    Raises
    ------
    LabelwiseError
        With the option's key and what to do.
    """
    if network.model.name in CLOSED_FORM:
        _check_closed_form(recipe, data, network)
    if network.store is not None:
        _check_stored(recipe, network)
    views = network.views or recipe.views
    mixed = views.mixup > 0 or views.cutmix > 0
    if mixed and network.unseen_labels:
        raise ConfigError("chain.fold_labels unseen: a mixed view is of two samples; set mixup and cutmix to 0")
    if data.table is None:
        _check_single_label(recipe, data, network)
    else:
        _check_multi_label(recipe, data, data.table, network, mixed)


def _check_stored(recipe: Recipe, network: NetworkSpec) -> None:
    """What needs more of a refinery than its answers to stored views."""
    options, unknown = network.refined_labels, recipe.chain.unknown
    needed = {
        f"model.name {network.model.name}": network.model.name in CLOSED_FORM,
        f"chain.refined.per {options.per}": options.per != "view",
        "chain.refined.views": options.views > 1,
        f"chain.refined.loss {options.loss}": options.loss not in ("kl", "kd"),
        f"chain.refined.trust {options.trust}": options.trust != "all",
        f"chain.refined.norm {options.norm}": options.norm == "batch",
        "chain.refined.jitter": options.jitter.step > 0,
        f"chain.unknown.view {unknown.view}": unknown.view != "each",
        "chain.unknown.views": unknown.views > 1,
        "chain.unknown.zero_shot": unknown.zero_shot is not None,
        "chain.unlabelled.max_entropy": recipe.chain.unlabelled.max_entropy < 1,
        "chain.fold_labels unseen": network.unseen_labels,
    }
    if found := next((key for key, there in needed.items() if there), None):
        raise ConfigError(f"{found}: needs the refinery itself, {network.name} has stored labels; leave it out")


def _check_closed_form(recipe: Recipe, data: Dataset, network: NetworkSpec) -> None:
    name, options = network.model.name, network.refined_labels
    if data.table is not None:
        raise ConfigError(f"model.name {name}: it is for one class per sample, these data have several; use mlp")
    if network.start_from is not None or network.model.init != "random":
        raise ConfigError(f"model.name {name}: it is fitted in closed form, from no first weights; leave them out")
    if network.refineries and (options.loss != "kl" or options.jitter.step > 0 or options.trust != "all"):
        raise ConfigError(
            f"model.name {name}: it is fitted in closed form; leave chain.refined.loss, trust and jitter out"
        )
    if network.refineries and _uses_unlabelled(recipe, data):
        raise ConfigError(
            f"model.name {name}: it is fitted in closed form to labelled samples; set chain.unlabelled.share to 0"
        )


def _check_single_label(recipe: Recipe, data: Dataset, network: NetworkSpec) -> None:
    train, options = network.train, network.refined_labels
    if train.taxonomy is not None:
        read_taxonomy(Path(train.taxonomy.file), data.classes)
    if not network.refineries:
        return
    if options.per == "category" and _uses_unlabelled(recipe, data):
        raise ConfigError(
            "chain.refined.per category: an unlabelled image is of no given class; set chain.unlabelled.share to 0"
        )
    if train.balance == "class_weights" and options.loss != "kl":
        raise ConfigError(f"train.balance class_weights: it weights the terms of kl; {options.loss} has none")
    if options.jitter.step > 0 and data.is_features:
        raise ConfigError("chain.refined.jitter: it moves pixels, the data are embeddings; leave it out")
    if options.norm == "batch" and (network.unseen_labels or (options.trust != "all" and network.crossfitted)):
        raise ConfigError(
            "chain.refined.norm batch: with fold_labels unseen, or with trust and folds, each refinery sees a part of a"
            " batch alone"
        )
    if options.kind == "top2" and data.num_classes < 3:
        raise ConfigError("chain.refined.kind top2: with two classes all labels would be alike; set soft or hard")


def _check_multi_label(recipe: Recipe, data: Dataset, table: LabelTable, network: NetworkSpec, mixed: bool) -> None:
    train, options = network.train, network.labels or recipe.labels
    if train.taxonomy is not None:
        raise ConfigError("train.taxonomy: it spreads the one label of a sample, these have several; leave it out")
    if train.balance != "none":
        raise ConfigError(f"train.balance {train.balance}: not for multi-label data; leave it out")
    if changed(network.refined_labels):
        raise ConfigError("chain.refined: for one class per sample; multi-label data have chain.unknown")
    given = strategies.uncertain(table.take(data.rows("fit")), options.uncertain)
    if not network.refineries:
        if mixed and options.scheme != "plain":
            raise ConfigError(
                f"labels.scheme {options.scheme}: a mixed view has the labels of two samples; set views.mixup and"
                " views.cutmix to 0"
            )
        given = strategies.unknown(given, options.unknown)
    strategies.require_labels(strategies.train_targets(given)[1])


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
