"""A store held against a data set: which sample of the one is which of the other, and whether they fit at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labelwise.config import ViewConfig
from labelwise.data.counter_rng import random_words
from labelwise.data.dataset import Dataset, Features
from labelwise.data.replay import Replay
from labelwise.errors import ConfigError, DataError
from labelwise.store.header import CROP_KEYS, StoreHeader
from labelwise.store.reader import Store
from labelwise.store.shard import hash_of

ENDLESS = 2**31
"""As ``views.number`` in the plans of training: more numbers than it ever asks for. A store finds its view for each."""

LOOKED_AT = 8
"""Probes that are compared with the pixels of a data set, at most."""


@dataclass(frozen=True)
class BoundStore:
    """A store as a data set sees it: the crops and labels of its rows.

    Training looks at view 0, 1, 2, ... of a row. Each pass of ``views`` such numbers shows all of them once, in an
    order of the sample's own.

    Parameters
    ----------
    store : what is read
    places : (N,) of the rows of the data set in the store, -1 where it lacks them
    keys : (N,) of the rows
    views : how many views of a sample are used, the first ones
    order : draws the order of the views
    """

    store: Store
    places: NDArray[np.int64]
    keys: NDArray[np.uint64]
    views: int
    order: int

    @property
    def seed(self) -> int:
        """What drew the crops."""
        return self.store.header.seed

    def replay(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> Replay:
        """The crops and labels (B,) of ``rows``, where training looks at their view ``numbers``."""
        views = in_own_order(self.keys[rows], numbers, self.views, self.order)
        found = self.store.read(self.places[rows], views)
        return Replay(views, found.boxes, found.labels.ids, found.labels.values)


def in_own_order(keys: NDArray[np.uint64], numbers: NDArray[np.int64], views: int, seed: int) -> NDArray[np.int64]:
    """The view (B,) that is shown as number n, such that each pass of ``views`` numbers shows every view once.

    Within a pass view a n + b modulo ``views`` is shown, where b is any and a has no divisor in common with ``views``;
    both are drawn for every sample and pass.
    """
    steps = _steps(views)
    words = random_words(seed, "order of views", keys, numbers // views, 1, rounds=7).astype(np.int64)
    return (steps[words[:, 0] % len(steps)] * (numbers % views) + words[:, 1] % views) % views


@lru_cache(maxsize=8)
def _steps(views: int) -> NDArray[np.int64]:
    return np.array([step for step in range(1, views + 1) if math.gcd(step, views) == 1])


def bind(
    store: Store, dataset: Dataset, rows: NDArray[np.int64], views: int | None = None, order: int = 0
) -> BoundStore:
    """The store for the ``rows`` of a data set that are trained on.

    Raises
    ------
    DataError
        If the store was made for other data, in one line with the first difference: the task, classes, the kind of
        input, channels, samples that are not in the store, or other images under the same ids.
    """
    header = store.header
    _refuse_other_labels(store, dataset)
    places = store.places(dataset.keys)
    lacking = rows[places[rows] < 0]
    if len(lacking):
        raise DataError(
            f"{store.folder}: lacks {len(lacking):,} of {len(rows):,} samples that would be trained on, the first is"
            f" {str(dataset.ids[lacking[0]])!r}; label these data"
        )
    _refuse_other_images(store, dataset)
    return BoundStore(store, places, dataset.keys, header.views_per_sample if views is None else views, order)


def stored_views(header: StoreHeader, views: ViewConfig, where: str) -> ViewConfig:
    """``views`` with what a store says of its crops. What ``views`` set themselves must be the same.

    Parameters
    ----------
    where : names the store in messages

    Raises
    ------
    ConfigError
        With the first key that is set to something else.
    """
    stored = header.view_config()
    found: dict[str, Any] = {}
    for key in CROP_KEYS:
        own, theirs = getattr(views, key), getattr(stored, key)
        if key in views.model_fields_set and own != theirs and (key == "feature_dropout") == (header.channels == 0):
            raise ConfigError(
                f"views.{key}: {_shown(own)}, but the crops of {where} were made with {_shown(theirs)}; leave it out"
            )
        found[key] = theirs
    if views.number is not None and views.number > header.views_per_sample:
        raise ConfigError(
            f"views.number: {views.number}, but {where} has {header.views_per_sample} views of a sample; leave it out"
        )
    return views.model_copy(update=found)


def refuse_reuse(there: int, draws: float, reuse: Literal["cycle", "stop"], where: str) -> None:
    """Refuse to show a view twice, where the recipe says so.

    Parameters
    ----------
    there : views of a sample that are used
    draws : how many views of a sample training shows, at most

    Raises
    ------
    ConfigError
        If there are fewer.
    """
    if reuse == "stop" and draws > there:
        shown = "any number of" if math.isinf(draws) else f"{math.ceil(draws):,}"
        raise ConfigError(
            f"chain.store_reuse stop: training would show {shown} views of a sample, {where} has"
            f" {there:,}; label more views, train for fewer epochs, or set cycle"
        )


def _refuse_other_labels(store: Store, dataset: Dataset) -> None:
    """What the header says of the data."""
    header = store.header
    task = "single-label" if dataset.table is None else "multi-label"
    if header.task != task:
        raise DataError(f"{store.folder}: has labels of {header.task} data, {dataset.name} is {task}")
    if header.classes != dataset.classes:
        raise DataError(f"{store.folder}: {_class_difference(header.classes, dataset.classes, dataset.name)}")
    channels = 0 if isinstance(dataset.source, Features) else dataset.source.channels
    if (header.channels == 0) != (channels == 0):
        kinds = ("images", "embeddings")
        raise DataError(
            f"{store.folder}: labels views of {kinds[header.channels == 0]}, {dataset.name} has {kinds[channels == 0]}"
        )
    if header.channels != channels:
        raise DataError(
            f"{store.folder}: labels images of {header.channels} channels, those of {dataset.name} have {channels}"
        )


def _class_difference(stored: Sequence[str], own: Sequence[str], name: str) -> str:
    if set(stored) == set(own) and len(stored) == len(own):
        first = next(i for i, (a, b) in enumerate(zip(stored, own, strict=True)) if a != b)
        return f"has the classes of {name} in another order; class {first} is {stored[first]!r}, here {own[first]!r}"
    odd = sorted(set(own) - set(stored)) or sorted(set(stored) - set(own))
    whose = name if odd[0] in own else "the store"
    return f"has {len(stored)} classes, {name} has {len(own)}; {odd[0]!r} is one of {whose} alone"


def _refuse_other_images(store: Store, dataset: Dataset) -> None:
    """Compare some images with the hashes that the store has of them."""
    row_of = {key: row for row, key in enumerate(dataset.keys.tolist())}
    looked_at = 0
    for shard in _spread(store.shards, LOOKED_AT):
        for probe in shard.probes:
            if probe["height"] == 0:  # a shard of few crops has fewer probes
                continue
            row = row_of.get(int(shard.keys[probe["crop"] // store.header.views_per_sample]))
            if row is None:
                continue
            source = dataset.source
            image = source.values[row].astype(np.float32) if isinstance(source, Features) else source.read(row)
            if hash_of(image) != probe["image"]:
                what = "embedding" if isinstance(source, Features) else "image"
                raise DataError(
                    f"{store.folder}: was made with another {what} of {str(dataset.ids[row])!r}; label these data"
                )
            looked_at += 1
            break
        if looked_at >= LOOKED_AT:
            return


def _spread(shards: Sequence[Any], count: int) -> list[Any]:
    """All shards, an evenly spread ``count`` of them first."""
    first = sorted(set(np.linspace(0, len(shards) - 1, min(count, len(shards))).round().astype(int).tolist()))
    return [shards[i] for i in first] + [shard for i, shard in enumerate(shards) if i not in set(first)]


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value).lower()
