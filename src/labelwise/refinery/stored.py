"""Networks that learn from a store of crop labels: whether it fits them, and how they read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.config import Recipe
from labelwise.data.counter_rng import derive_seed
from labelwise.data.dataset import Dataset
from labelwise.errors import ConfigError
from labelwise.refinery.context import TrainingContext
from labelwise.refinery.generations import LabelledBy, LabelStore, NetworkSpec, Refinery
from labelwise.store.bound import BoundStore, bind, refuse_reuse, stored_views
from labelwise.store.header import crop_views, read_header
from labelwise.store.making import Kept
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


def refuse_stored(recipe: Recipe, data: Dataset, networks: Sequence[NetworkSpec]) -> None:
    """Refuse a store that was made for other data, or that has not what ``networks`` would learn; also one that is
    still to be written.

    Raises
    ------
    LabelwiseError
        As :func:`labelwise.store.bound.bind`, or with the option that does not go with the store.
    """
    chain = recipe.chain
    if chain.store is not None:
        outside = Store(Path(chain.store))
        bind(outside, data, stored_rows(recipe, data))
    written = chain.write_store
    layout = None if written.views == 0 else Kept(written.views, written.k, mass=written.mass).layout(data)
    crops: dict[Path, dict[str, Any]] = {}
    for network in (one for one in networks if one.store is not None):
        assert network.store is not None
        folder, views = network.store.folder, network.views or recipe.views
        if chain.store is not None and folder == Path(chain.store):
            stored_views(outside.header, views, chain.store)
            there, k, mass = outside.header.views_per_sample, outside.header.k, outside.header.mass
        else:
            assert layout is not None
            there, k, mass = written.views, layout.k, layout.mass
        if views.number is not None and views.number > there:
            raise ConfigError(f"views.number: {views.number}, but {folder} has {there} views of a sample; leave it out")
        if crops.setdefault(folder, crop_views(views)) != crop_views(views):
            raise ConfigError(f"chain.write_store: {folder} is for one kind of views, {network.name} has others")
        refuse_reuse(views.number or there, _draws(recipe, data, network), chain.store_reuse, str(folder))
        if network.refined_labels.kind == "top2" and (k < 2 or mass is not None):
            raise ConfigError(f"chain.refined.kind top2: {folder} may have one class of a crop; set soft or hard")


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
    rows = stored_rows(context.recipe, context.dataset)
    return bind(Store(network.store.folder), context.dataset, rows, context.recipe.views.number, seed)


def stored_names(network: NetworkSpec, bound: BoundStore) -> str:
    """Who has labelled, for tables."""
    names = ", ".join(refinery.name for refinery in network.refineries)
    several = "mean of " if len(network.refineries) > 1 else ""
    number = f"{bound.views} view{'s' if bound.views > 1 else ''}"
    return f"{several}{names}; store {bound.store.folder.name}, {number} of each sample"


def stored_rows(recipe: Recipe, data: Dataset) -> NDArray[np.int64]:
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
