"""Networks that learn from a store of crop labels: whether it fits them, and how they read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelwise.config import Recipe
from labelwise.data.counter_rng import derive_seed
from labelwise.data.dataset import Dataset
from labelwise.errors import ConfigError
from labelwise.refinery.context import TrainingContext
from labelwise.refinery.generations import LabelledBy, LabelStore, NetworkSpec, Refinery
from labelwise.store.bound import BoundStore, bind, refuse_reuse, stored_views
from labelwise.store.header import StoreHeader, read_header
from labelwise.store.reader import Store


def with_stored_views(recipe: Recipe, folder: str) -> Recipe:
    """The recipe with the views of the store in ``folder``; what it sets itself must be the same.

    Raises
    ------
    LabelwiseError
        As :func:`labelwise.store.header.read_header` and :func:`labelwise.store.bound.stored_views`.
    """
    views = stored_views(read_header(Path(folder)), recipe.views, folder)
    return recipe.model_copy(update={"views": views})


def refuse_other_store(recipe: Recipe, data: Dataset, networks: Sequence[NetworkSpec], folder: str) -> None:
    """Refuse the store in ``folder`` if it was made for other data, or has not what ``networks`` would learn.

    Raises
    ------
    LabelwiseError
        As :func:`labelwise.store.bound.bind`, or with the option that does not go with the store.
    """
    store = Store(Path(folder))
    bind(store, data, _rows(recipe, data))
    for network in networks:
        if network.store is None:
            continue
        views = stored_views(store.header, network.views or recipe.views, folder)
        refuse_reuse(store.header, views, _draws(recipe, data, network), recipe.chain.store_reuse, folder)
        refuse_few_classes(store.header, network, folder)


def refuse_few_classes(header: StoreHeader, network: NetworkSpec, where: str) -> None:
    """Refuse ``top2`` where a crop may have one class, with a ConfigError."""
    if network.refined_labels.kind == "top2" and (header.k < 2 or header.mass is not None):
        raise ConfigError(f"chain.refined.kind top2: {where} may have one class of a crop; set soft or hard")


def labelled_by_store(folder: str) -> LabelledBy:
    """Those that have labelled a store."""
    store = Store(Path(folder))
    refineries = tuple(Refinery(one.name, Path(), one.weights_hash) for one in store.header.refineries)
    return LabelledBy(refineries, LabelStore(store.folder, store.checksum()))


def bound_store(context: TrainingContext, network: NetworkSpec) -> BoundStore:
    """The store that ``network`` learns from, as its training reads it.

    Raises
    ------
    DataError
        If the store is no longer what it was, or fits the data no longer.
    """
    assert network.store is not None
    seed = derive_seed(context.seed, network.stream or network.name)
    rows = _rows(context.recipe, context.dataset)
    return bind(Store(network.store.folder), context.dataset, rows, context.recipe.views.number, seed)


def stored_names(network: NetworkSpec, bound: BoundStore) -> str:
    """Who has labelled, for tables."""
    names = ", ".join(refinery.name for refinery in network.refineries)
    several = "mean of " if len(network.refineries) > 1 else ""
    number = f"{bound.views} view{'s' if bound.views > 1 else ''}"
    return f"{several}{names}; store {bound.store.folder.name}, {number} of each sample"


def _rows(recipe: Recipe, data: Dataset) -> NDArray[np.int64]:
    """The samples that are learnt from with stored labels."""
    rows = data.rows("fit")
    return np.r_[rows, data.rows("unlabelled")] if recipe.chain.unlabelled.share > 0 else rows


def _draws(recipe: Recipe, data: Dataset, network: NetworkSpec) -> float:
    """How many views of a sample training shows, at most."""
    epochs, share = network.train.epochs, recipe.chain.unlabelled.share
    if network.train.balance == "sampler":  # chance decides
        return np.inf
    fit, unlabelled = len(data.rows("fit")), len(data.rows("unlabelled"))
    return epochs * max(1.0, share * fit / unlabelled) if unlabelled and share > 0 else epochs
