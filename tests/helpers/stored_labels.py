"""Stores of what a network says of the crops of a data set, written by the shortest way there is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tests.helpers.store_factory import best

from labelwise.config import ViewConfig
from labelwise.data.dataset import Dataset, Features
from labelwise.data.loaders import Batch, make_loader
from labelwise.data.sampling import BatchPlan
from labelwise.data.views import Boxes
from labelwise.store.header import FORMAT, HEADER, Refined, StoreHeader, crop_views
from labelwise.store.layout import CropLabels
from labelwise.store.shard import PROBE, PROBES, ShardContent, hash_of, shard_name, write_shard

PER_SHARD = 7
VIEWS = ViewConfig()
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Crops:
    """Which crops are labelled: views 0 to ``count`` - 1 of each sample, at these sizes."""

    sizes: tuple[int, ...]
    views: ViewConfig = VIEWS
    count: int = 3
    seed: int = 5

    def of(self, dataset: Dataset, rows: np.ndarray) -> Batch:
        """Of ``rows`` as one batch, all views of a sample together."""
        plan = BatchPlan(rows.repeat(self.count), np.tile(np.arange(self.count), len(rows)))
        [batch] = make_loader(dataset, self.views, CPU).stream([plan], self.sizes, self.seed)
        return batch


def write_store(folder: Path, dataset: Dataset, rows: np.ndarray, answer, crops: Crops, **options) -> Path:
    """Label crops of ``rows`` with log-probabilities or log-odds ``answer(batch)`` (B, K); ``options`` are those of the
    header."""
    batch, count = crops.of(dataset, rows), crops.count
    values = answer(batch).detach().numpy().astype(np.float32)
    multi_label, features = dataset.table is not None, isinstance(dataset.source, Features)
    header = StoreHeader(
        format=FORMAT,
        task="multi-label" if multi_label else "single-label",
        classes=dataset.classes,
        refineries=(Refined(name="net", weights_hash="0" * 16, input={}),),
        autocast="no",
        views=crop_views(crops.views),
        channels=0 if features else dataset.source.channels,
        seed=crops.seed,
        views_per_sample=count,
        **{"k": dataset.num_classes, "boxes": not features, "precision": "fp16", "mass": None, **options},
        samples=len(rows),
        sample_hash="1" * 16,
        samples_per_shard=PER_SHARD,
        shards=-(-len(rows) // PER_SHARD),
        libraries={},
    )
    folder.mkdir(parents=True)
    (folder / HEADER).write_text(json.dumps(header.to_dict()))
    labels = CropLabels(None, values) if multi_label else best(values, header.k)
    for number, start in enumerate(range(0, len(rows), PER_SHARD)):
        own = rows[start : start + PER_SHARD]
        part = slice(start * count, (start + len(own)) * count)
        boxes: Boxes | None = batch.boxes and batch.boxes[part]
        records, entries = header.layout.encode(
            boxes, CropLabels(None if labels.ids is None else labels.ids[part], labels.values[part])
        )
        probes = np.zeros(PROBES, dtype=PROBE)
        for place, row in enumerate(own[:PROBES]):
            image = dataset.source.values[row] if features else dataset.source.read(int(row))
            height, width = (1, len(image)) if features else image.shape[:2]
            probes[place] = (place * count, height, width, hash_of(image), 0)
        content = ShardContent(dataset.ids[own], records, entries, probes)
        write_shard(folder / shard_name(number), header.hash, count, content)
    return folder
