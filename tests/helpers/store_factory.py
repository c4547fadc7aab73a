"""Stores of made-up labels."""

from __future__ import annotations

import json

import numpy as np

from labelwise.config import ViewConfig
from labelwise.data.views import Boxes
from labelwise.store.header import FORMAT, HEADER, Refined, StoreHeader, crop_views, sample_hash
from labelwise.store.layout import CropLabels
from labelwise.store.shard import PROBE, PROBES, ShardContent, shard_name, write_shard

VIEWS, CLASSES = 3, 12


def log_probabilities(crops: int, classes: int, seed: int) -> np.ndarray:
    logits = 3 * np.random.default_rng(seed).standard_normal((crops, classes))
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def best(logp: np.ndarray, k: int) -> CropLabels:
    if k == logp.shape[1]:
        return CropLabels(None, logp)
    ids = np.argsort(-logp, axis=1, kind="stable")[:, :k]
    return CropLabels(ids, np.take_along_axis(logp, ids, 1))


def some_boxes(crops: int, seed: int, largest: int = 500) -> Boxes:
    rng = np.random.default_rng(seed)
    low, size = (rng.integers(0, largest, (2, crops)), rng.integers(1, largest, (2, crops)))
    top, left, height, width = (x.astype(np.int32) for x in (*low, *size))
    return Boxes(top, left, height, width, rng.random(crops) < 0.5)


def make_store(folder, sizes=(5, 5, 2), k=4, mass=None, first=0, **changes):
    """A store of made-up labels of images from number ``first`` on, with ``changes`` of its header.

    Returns
    -------
    ids, and labels and boxes of all crops
    """
    n = sum(sizes)
    ids = np.array([f"image-{i}-é" for i in range(first, first + n)])
    header = StoreHeader(
        format=FORMAT,
        task="single-label",
        classes=tuple(f"class-{c}" for c in range(CLASSES)),
        refineries=(Refined(name="net", weights_hash="0" * 16, input={"kind": "image"}),),
        autocast="no",
        views=crop_views(ViewConfig()),
        channels=3,
        seed=7,
        views_per_sample=VIEWS,
        k=k,
        boxes=True,
        precision="fp16",
        mass=mass,
        samples=n,
        sample_hash=sample_hash(ids.tolist()),
        samples_per_shard=sizes[0],
        shards=len(sizes),
        libraries={},
    )
    header = header.model_copy(update=changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HEADER).write_text(json.dumps(header.to_dict()))
    labels, boxes = best(log_probabilities(n * VIEWS, CLASSES, 0), k), some_boxes(n * VIEWS, 0)
    start = 0
    for number, size in enumerate(sizes):
        crops = slice(start * VIEWS, (start + size) * VIEWS)
        own = CropLabels(None if labels.ids is None else labels.ids[crops], labels.values[crops])
        records, entries = header.layout.encode(boxes[crops], own)
        content = ShardContent(ids[start : start + size], records, entries, np.zeros(PROBES, dtype=PROBE))
        write_shard(folder / shard_name(number), header.hash, VIEWS, content)
        start += size
    return ids, labels, boxes
