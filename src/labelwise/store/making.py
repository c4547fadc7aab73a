"""The labels of one shard, a pure function of its number and of what the store is made with, and how it is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import labelwise
from labelwise.config import ViewConfig
from labelwise.data.counter_rng import generator
from labelwise.data.dataset import Dataset, Features
from labelwise.data.loaders import Batch, ViewLoader
from labelwise.data.sampling import BatchPlan
from labelwise.data.tars import tar_edges
from labelwise.errors import DataError, RunError
from labelwise.store.header import FORMAT, Refined, StoreHeader, claim, crop_views, sample_hash
from labelwise.store.layout import CropLabels, Layout, Precision, join
from labelwise.store.shard import (
    PROBE,
    PROBES,
    DamagedShardError,
    Shard,
    ShardContent,
    hash_of,
    shard_name,
    write_shard,
)

BATCH = 256
"""Crops that a refinery sees at once, all views of a sample together where they fit. The last bits of an answer may
depend on the batch, so it never depends on who labels."""

SHARD_BYTES = 2**26
"""About the most that a shard takes."""

FEW = 10
"""Classes that are kept of a crop where the user does not say."""

SHARDS = 64
"""A store has at least so many shards, where each gets as many samples."""


class Answering(Protocol):
    """A refinery whose answers are stored."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes that it needs rendered."""
        ...

    def log_answer(self, batch: Batch) -> Tensor:
        """(B, K) float32 log-probabilities; log-odds of multi-label data."""
        ...


@dataclass(frozen=True)
class Kept:
    """What a store keeps.

    Parameters
    ----------
    views : V crops of every sample
    k : classes of a crop. None: ten; all where there are fewer, and of multi-label data
    precision, mass, boxes : see :class:`labelwise.store.layout.Layout`; embeddings have no boxes
    shard_samples : samples of a shard; None: by the size of the data, or those of a tar of images
    """

    views: int
    k: int | Literal["all"] | None = None
    precision: Precision = "fp16"
    mass: float | None = None
    boxes: bool = True
    shard_samples: int | None = None

    def layout(self, dataset: Dataset) -> Layout:
        """The record of a crop."""
        classes, multi_label = dataset.num_classes, dataset.table is not None
        k = self.k or (classes if multi_label else min(FEW, classes))
        boxes = self.boxes and not dataset.is_features
        return Layout(classes, classes if k == "all" else k, boxes, self.precision, self.mass, multi_label)


@dataclass(frozen=True)
class MadeWith:
    """Who labels, in which precision, and what draws the crops."""

    refineries: tuple[Refined, ...]
    autocast: Literal["no", "fp16", "bf16"]
    views: ViewConfig
    seed: int


def new_header(
    dataset: Dataset, rows: NDArray[np.int64], kept: Kept, made_with: MadeWith
) -> tuple[StoreHeader, NDArray[np.int64]]:
    """The header of a store of ``rows`` of a data set, and the edges (S + 1,) of its shards in ``rows``.

    Raises
    ------
    DataError
        If two samples have the same id, or the records cannot be as ``kept`` says.
    """
    if len(np.unique(dataset.keys[rows])) < len(rows):
        raise DataError(f"{dataset.name}: two samples have the same id; a store knows samples by their ids")
    layout = kept.layout(dataset)
    per_shard = kept.shard_samples or samples_per_shard(len(rows), kept.views * layout.bytes_per_crop())
    tars = None if kept.shard_samples else tar_edges(dataset.source, rows)
    edges = np.r_[np.arange(0, len(rows), per_shard), len(rows)] if tars is None else tars
    header = StoreHeader(
        format=FORMAT,
        task="multi-label" if layout.multi_label else "single-label",
        classes=dataset.classes,
        refineries=made_with.refineries,
        autocast=made_with.autocast,
        views=crop_views(made_with.views),
        channels=0 if isinstance(dataset.source, Features) else dataset.source.channels,
        seed=made_with.seed,
        views_per_sample=kept.views,
        k=layout.k,
        boxes=layout.boxes,
        precision=kept.precision,
        mass=kept.mass,
        samples=len(rows),
        sample_hash=sample_hash(dataset.ids[rows].tolist()),
        samples_per_shard=per_shard if tars is None else None,
        shards=len(edges) - 1,
        libraries={
            "labelwise": labelwise.__version__,
            **{name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
        },
    )
    return header, edges


@dataclass(frozen=True)
class LabelPass:
    """Everything that the labels of a store depend on: work in shards (:mod:`labelwise.sharding`), which are its files.

    Parameters
    ----------
    rows : (N,) of the data set, the samples in the order of the store
    edges : (S + 1,) where the shards begin and end in ``rows``
    loader : of the views that are labelled
    """

    header: StoreHeader
    dataset: Dataset
    rows: NDArray[np.int64]
    edges: NDArray[np.int64]
    refinery: Answering
    loader: ViewLoader

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self.header.shards

    def claim(self, out: Path, *, write: bool = True) -> None:
        """Make a folder this store; see :func:`labelwise.store.header.claim`."""
        claim(out, self.header, write=write)

    def size(self, number: int) -> int:
        """Crops in a shard."""
        return len(self.rows_of(number)) * self.header.views_per_sample

    def is_finished(self, out: Path, number: int) -> bool:
        """Whether a shard is there, every byte of it; that of another store is refused."""
        path = out / shard_name(number)
        try:
            Shard(path, self.header.layout, self.header.hash, self.header.views_per_sample).check()
        except DamagedShardError:
            if path.exists():
                print(f"{path}: is damaged and is labelled again", file=sys.stderr)
            return False
        return True

    def make(self, out: Path, number: int, advance: Callable[[int], None] = lambda _: None) -> None:
        """Label a shard and write it; see :meth:`content`."""
        content = self.content(number, advance)
        try:
            write_shard(out / shard_name(number), self.header.hash, self.header.views_per_sample, content)
        except RunError:
            if not self.is_finished(out, number):  # another process may have made it, and tidied up
                raise

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
        crops = self.size(number)
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
