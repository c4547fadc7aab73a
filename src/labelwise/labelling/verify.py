"""``labelwise store verify``: crops of a store are cut and labelled again, and compared with what it says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.config import Recipe, refuse_missing
from labelwise.data.counter_rng import generator
from labelwise.data.replay import Replay
from labelwise.data.sampling import BatchPlan
from labelwise.errors import ConfigError, DataError
from labelwise.labelling.job import LabelRequest
from labelwise.runs import RUN, read_json
from labelwise.settings import resolve
from labelwise.store.header import COUNTS, first_difference
from labelwise.store.making import BATCH, Kept, LabelPass
from labelwise.store.reader import Store

BOUND = {"fp16": 0.01, "uint8": 0.04}
"""Largest difference of a probability that rounding explains; mixed precision may add as much again."""


@dataclass(frozen=True)
class Comparison:
    """What came out of labelling crops of a store again.

    Parameters
    ----------
    crops : how many were labelled again
    largest : largest difference of a probability; ``at`` are the id and view of this crop
    bound : what rounding explains of it
    probes : crops whose image and pixels were compared by their hashes
    images_differ, pixels_differ : probes whose decoded image, or whose crop as the network saw it, is another
    """

    crops: int
    largest: float
    at: tuple[str, int]
    bound: float
    probes: int
    images_differ: int
    pixels_differ: int

    @property
    def same(self) -> bool:
        """Whether these are the labels of these networks on these images."""
        return not self.images_differ and self.largest <= self.bound

    def in_words(self) -> str:
        """Two lines."""
        name, view = self.at
        labels = f"{self.crops:,} crops labelled again: the largest difference of a probability is {self.largest:.2g}"
        labels += f" (view {view} of {name}; rounding explains {self.bound:g})"
        if self.images_differ:
            pixels = f"{self.images_differ:,} of {self.probes:,} images are other ones"
        elif self.pixels_differ:
            pixels = f"all {self.probes:,} images are the same, the pixels of {self.pixels_differ:,} crops differ"
        else:
            pixels = f"all {self.probes:,} images and the pixels of their crops are identical"
        return f"{labels}\n{pixels}"


@dataclass(frozen=True)
class _AsStored:
    """The views of a store under their own numbers."""

    store: Store
    places: NDArray[np.int64]

    @property
    def seed(self) -> int:
        return self.store.header.seed

    def replay(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> Replay:
        found = self.store.read(self.places[rows], numbers)
        return Replay(numbers, found.boxes, found.labels.ids, found.labels.values)


def compare_again(
    folder: Path, recipe: Recipe | None, models: tuple[str, ...], sample: int, trust_code: bool = False
) -> Comparison:
    """:func:`compare` with the data and the networks that the store names, where none are given.

    Raises
    ------
    LabelwiseError
        Also if they are not at hand.
    """
    if recipe is None or not models:
        named, by = _sources(folder)
        recipe, models = recipe or named, models or by
    refuse_missing(recipe.data)
    return compare(Store(folder), recipe, models, sample, trust_code)


def _sources(folder: Path) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe and the networks that a finished store names. Nothing of them may run code."""
    facts = read_json(folder / RUN)
    if not isinstance(facts, dict) or not isinstance(facts.get("recipe"), dict) or not facts.get("models"):
        raise ConfigError(f"{folder / RUN}: names neither data nor networks; give --data and --model")
    return resolve(Recipe, facts["recipe"]), tuple(map(str, facts["models"]))


def compare(store: Store, recipe: Recipe, models: tuple[str, ...], sample: int, trust_code: bool = False) -> Comparison:
    """Label random crops of a store again, from their stored boxes.

    Parameters
    ----------
    recipe : its ``data`` are used; views, seed and precision are those of the store
    models : as in :class:`labelwise.labelling.job.LabelRequest`
    sample : number of crops, at most

    Raises
    ------
    LabelwiseError
        If the store was made by other networks or of other data, with the first difference.
    """
    work = _pass_of(store, recipe, models, trust_code)
    places = store.places(work.dataset.keys)
    work = replace(work, loader=work.loader.replaying(_AsStored(store, places)))
    row_of = np.full(len(store), -1, dtype=np.int64)
    row_of[places[places >= 0]] = np.flatnonzero(places >= 0)
    if (row_of < 0).any():
        name = np.concatenate([shard.ids() for shard in store.shards])[int(np.argmin(row_of))]
        raise DataError(f"{store.folder}: has labels of {str(name)!r}, which is not in {work.dataset.name}")
    total = len(store) * store.header.views_per_sample
    crops = np.sort(generator("verify", "crops").choice(total, min(sample, total), replace=False))
    largest, worst = _largest_difference(work, row_of, crops)
    probes = _probes(store, sample)
    seen = np.array(_probed_again(work, row_of, probes["crop"])).reshape(-1, 2)
    row = int(row_of[worst // store.header.views_per_sample])
    return Comparison(
        crops=len(crops),
        largest=largest,
        at=(str(work.dataset.ids[row]), worst % store.header.views_per_sample),
        bound=BOUND[store.header.precision] * (1 if store.header.autocast == "no" else 2),
        probes=len(probes),
        images_differ=int((seen[:, 0] != probes["image"]).sum()),
        pixels_differ=int((seen[:, 1] != probes["pixels"]).sum()),
    )


def _pass_of(store: Store, recipe: Recipe, models: tuple[str, ...], trust_code: bool) -> LabelPass:
    """What the store was made with, with these data and networks."""
    header = store.header
    train = recipe.train.model_copy(update={"precision": header.autocast})
    recipe = recipe.model_copy(update={"views": header.view_config(), "seed": header.seed, "train": train})
    kept = Kept(header.views_per_sample, header.k, header.precision, header.mass, header.boxes)
    work = LabelRequest(models, recipe, kept, "all", trust_code).open()
    if (other := first_difference(header, work.header, without=(*COUNTS, "libraries"))) is not None:
        raise DataError(f"{store.folder}: was made with another {other}")
    return work


def _plans(store_views: int, row_of: NDArray[np.int64], crops: NDArray[np.int64]) -> list[BatchPlan]:
    """Batches of crops by their number in the whole store."""
    parts = [crops[start : start + BATCH] for start in range(0, len(crops), BATCH)]
    return [BatchPlan(row_of[part // store_views], part % store_views) for part in parts]


def _largest_difference(work: LabelPass, row_of: NDArray[np.int64], crops: NDArray[np.int64]) -> tuple[float, int]:
    """Of a probability of a class that is kept, over all crops; and the crop where it is."""
    differences = []
    for batch in work.loader.stream(_plans(work.header.views_per_sample, row_of, crops), work.refinery.sizes, 0):
        assert batch.labels is not None
        as_probability = torch.sigmoid if work.header.task == "multi-label" else torch.exp
        now, before = as_probability(work.refinery.log_answer(batch)), as_probability(batch.labels.values)
        now = now if batch.labels.ids is None else now.gather(1, batch.labels.ids)
        kept = ~torch.isneginf(batch.labels.values)
        differences.append(torch.where(kept, (now - before).abs(), 0).amax(1).cpu().numpy())
    found = np.concatenate(differences)
    return float(found.max()), int(crops[found.argmax()])


def _probes(store: Store, count: int) -> NDArray[np.void]:
    """At most about ``count`` probes of random shards, with their ``crop`` counted over the whole store."""
    found, starts = [], np.cumsum([0, *(shard.samples for shard in store.shards)])
    for number in generator("verify", "shards").permutation(len(store.shards)).tolist():
        probes = store.shards[number].probes
        own = np.zeros(len(probes), dtype=[("crop", np.int64), ("image", np.uint64), ("pixels", np.uint64)])
        own["crop"] = probes["crop"] + starts[number] * store.header.views_per_sample
        own["image"], own["pixels"] = probes["image"], probes["pixels"]
        found.append(own)
        if sum(map(len, found)) >= count:
            break
    return np.concatenate(found)


def _probed_again(work: LabelPass, row_of: NDArray[np.int64], crops: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Hashes of image and pixels of each crop."""
    seen = []
    for batch in work.loader.stream(_plans(work.header.views_per_sample, row_of, crops), work.refinery.sizes, 0):
        seen += [work.probe(batch, place, 0)[-2:] for place in range(len(batch))]
    return seen
