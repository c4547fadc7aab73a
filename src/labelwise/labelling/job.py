"""What is labelled by whom, and the labels of one shard: a pure function of the request and the shard's number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

import labelwise
from labelwise.config import LabelledSplit, Recipe
from labelwise.data.counter_rng import generator
from labelwise.data.dataset import SPLITS, UNLABELLED, Dataset, Features
from labelwise.data.loaders import Batch, ViewLoader, make_loader
from labelwise.data.readers import load_dataset, views_of
from labelwise.data.sampling import BatchPlan
from labelwise.data.tars import tar_edges
from labelwise.errors import ConfigError, DataError
from labelwise.labelling.refineries import choose_device, open_refineries
from labelwise.models.foreign import Trust
from labelwise.refinery.labellers import RefineryLabels
from labelwise.store.header import FORMAT, StoreHeader, crop_views, sample_hash
from labelwise.store.layout import CropLabels, Layout, Precision, join
from labelwise.store.shard import PROBE, PROBES, ShardContent, hash_of

BATCH = 256
"""Crops that a refinery sees at once, all views of a sample together where they fit. The last bits of an answer may
depend on the batch, so it never depends on who labels."""

SHARD_BYTES = 2**26
"""About the most that a shard takes."""

FEW = 10
"""Classes that are kept of a crop where the user does not say."""

SHARDS = 64
"""A store has at least so many shards, where each gets as many samples."""


@dataclass(frozen=True)
class LabelRequest:
    """What a user asks to be labelled; every process makes the same of it.

    Parameters
    ----------
    models : see :func:`labelwise.labelling.refineries.open_refineries`; their mean is taken
    recipe : its ``data``, ``views``, ``seed``, ``train.precision`` and ``train.channels_last`` are used
    views : V crops of every sample. None: ``views.number`` of the recipe
    k : classes that are kept of a crop. None: ten; all where there are fewer, and of multi-label data
    precision, mass, boxes : see :class:`labelwise.store.layout.Layout`; embeddings have no boxes
    split : samples of this split are labelled; ``training`` is ``fit`` and ``unlabelled``
    shard_samples : samples of a shard; None: by the size of the data, or those of a tar of images
    trust : what may be built that the card of a checkpoint describes
    """

    models: tuple[str, ...]
    recipe: Recipe
    views: int | None = None
    k: int | Literal["all"] | None = None
    precision: Precision = "fp16"
    mass: float | None = None
    boxes: bool = True
    split: LabelledSplit = "training"
    shard_samples: int | None = None
    trust: Trust = False


@dataclass(frozen=True)
class LabelJob:
    """A request with its data and networks opened.

    Parameters
    ----------
    rows : (N,) of the data set, the samples in the order of the store
    edges : (S + 1,) where the shards begin and end in ``rows``
    """

    request: LabelRequest
    header: StoreHeader
    dataset: Dataset
    rows: NDArray[np.int64]
    edges: NDArray[np.int64]
    refinery: RefineryLabels
    loader: ViewLoader
    device: torch.device

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """The rows of one shard."""
        return self.rows[self.edges[number] : self.edges[number + 1]]

    def content(self, number: int, advance: Callable[[int], None] = lambda _: None) -> ShardContent:
        """Label a shard.

        Parameters
        ----------
        number : of the shard, from 0
        advance : is told how many more crops are labelled

        Raises
        ------
        LabelwiseError
            If an image cannot be read, or a refinery answers with NaN.
        """
        header, rows = self.header, self.rows_of(number)
        plans = plan_views(rows, header.views_per_sample)
        crops = len(rows) * header.views_per_sample
        probed = np.sort(generator(header.seed, "probes", number).choice(crops, PROBES, replace=crops < PROBES))
        probes, parts, start = np.zeros(PROBES, dtype=PROBE), [], 0
        for batch in self.loader.stream(plans, self.refinery.sizes, header.seed):
            parts.append(header.layout.encode(batch.boxes, self.answer(batch)))
            for place in np.flatnonzero((probed >= start) & (probed < start + len(batch))):
                probes[place] = self.probe(batch, int(probed[place]) - start, int(probed[place]))
            start += len(batch)
            advance(len(batch))
        records, entries = join(parts)
        return ShardContent(self.dataset.ids[rows], records, entries, probes)

    def answer(self, batch: Batch) -> CropLabels:
        """The labels of a batch, as they are stored."""
        answer = self.refinery.log_answer(batch)
        if not self.header.layout.sparse:
            return CropLabels(None, answer.cpu().numpy())
        values, ids = answer.topk(self.header.k, dim=1)
        return CropLabels(ids.cpu().numpy(), values.cpu().numpy())

    def probe(self, batch: Batch, place: int, crop: int) -> tuple[int, int, int, int, int]:
        """A record of :data:`labelwise.store.shard.PROBE` for the crop at ``place`` of a batch."""
        source, row = self.dataset.source, int(batch.rows[place])
        image = source.values[row].astype(np.float32) if isinstance(source, Features) else source.read(row)
        height, width = image.shape[:2] if image.ndim == 3 else (1, len(image))
        pixels = batch.inputs[self.refinery.sizes[0]][place].float().cpu().numpy()
        return crop, height, width, hash_of(image), hash_of(pixels)


def open_job(request: LabelRequest, device_number: int = 0) -> LabelJob:
    """Open data and networks of a request.

    Parameters
    ----------
    device_number : which accelerator of this machine; processes count round

    Raises
    ------
    LabelwiseError
        If a network cannot label the data, or the store cannot be as it is asked for.
    """
    recipe = request.recipe
    number = request.views or recipe.views.number
    if number is None:
        raise ConfigError("say how many views of every sample are labelled: --views")
    device = choose_device(device_number)
    if device.type == "cpu":
        torch.set_num_threads(1)  # sums depend on the number of threads
    dataset = load_dataset(recipe.data)
    splits = {"training": ("fit", UNLABELLED), "all": (*SPLITS, UNLABELLED)}.get(request.split, (request.split,))
    rows = np.flatnonzero(np.isin(dataset.split, splits)).astype(np.int64)
    if not len(rows):
        raise DataError(f"{dataset.name}: no sample is in {' or '.join(splits)}; choose others by --split")
    if len(np.unique(dataset.keys[rows])) < len(rows):
        raise DataError(f"{dataset.name}: two samples have the same id; a store knows samples by their ids")
    refinery, refineries = open_refineries(request.models, dataset, recipe, device, request.trust)
    boxes, multi_label = request.boxes and not dataset.is_features, dataset.table is not None
    k = request.k or (dataset.num_classes if multi_label else min(FEW, dataset.num_classes))
    k = dataset.num_classes if k == "all" else k
    layout = Layout(dataset.num_classes, k, boxes, request.precision, request.mass, multi_label)
    views = views_of(recipe.data, recipe.views)
    per_shard = request.shard_samples or samples_per_shard(len(rows), number * layout.bytes_per_crop())
    edges = np.r_[np.arange(0, len(rows), per_shard), len(rows)]
    tars = None if request.shard_samples else tar_edges(dataset.source, rows)
    header = StoreHeader(
        format=FORMAT,
        task="multi-label" if multi_label else "single-label",
        classes=dataset.classes,
        refineries=refineries,
        autocast=recipe.train.precision,
        views=crop_views(views),
        channels=0 if isinstance(dataset.source, Features) else dataset.source.channels,
        seed=recipe.seed,
        views_per_sample=number,
        k=k,
        boxes=boxes,
        precision=request.precision,
        mass=request.mass,
        samples=len(rows),
        sample_hash=sample_hash(dataset.ids[rows].tolist()),
        samples_per_shard=per_shard if tars is None else None,
        shards=len(edges if tars is None else tars) - 1,
        libraries={
            "labelwise": labelwise.__version__,
            **{name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
        },
    )
    loader = make_loader(dataset, views, device, recipe.data.workers)
    return LabelJob(request, header, dataset, rows, edges if tars is None else tars, refinery, loader, device)


def plan_views(rows: NDArray[np.int64], views: int) -> list[BatchPlan]:
    """Batches of all views of each of ``rows`` (n,), in their order; an image is decoded once where its views are in
    one batch."""
    step = views * max(1, BATCH // views) if views <= BATCH else BATCH
    every, numbers = rows.repeat(views), np.tile(np.arange(views, dtype=np.int64), len(rows))
    parts = [slice(start, start + step) for start in range(0, len(every), step)]
    return [BatchPlan(every[part], numbers[part]) for part in parts]


def samples_per_shard(samples: int, sample_bytes: int) -> int:
    """How many samples a shard has: the work splits into at least ``SHARDS`` parts where there are many, and no shard
    is much larger than ``SHARD_BYTES``."""
    return max(64, min(-(-samples // SHARDS), SHARD_BYTES // sample_bytes))
