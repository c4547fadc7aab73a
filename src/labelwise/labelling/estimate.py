"""What a store will take, told before it is made: bytes by counting, seconds by a measured batch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import torch

from labelwise.data.loaders import make_loader
from labelwise.labelling.job import LabelJob
from labelwise.sharding.run import ShardMap
from labelwise.store.making import plan_views
from labelwise.store.shard import DIGEST, HEAD, PROBE, PROBES


@dataclass(frozen=True)
class Estimate:
    """Size of a store, and the work that is left of it for one part.

    Parameters
    ----------
    bytes : of the whole store; where the number of classes differs from crop to crop, the most that it can be
    crops_left, shards_left : what this part still has to label
    seconds : expected for ``crops_left``
    measured : crops of the batch that was timed; 0 where nothing is left
    """

    samples: int
    views: int
    shards: int
    bytes: int
    bytes_per_crop: int
    at_most: bool
    crops_left: int
    shards_left: int
    seconds: float
    measured: int

    def in_words(self) -> str:
        """One line."""
        crops = f"{self.samples:,} samples x {self.views:,} views = {self.samples * self.views:,} crops"
        most = "at most " if self.at_most else ""
        size = f"{most}{readable_bytes(self.bytes)}, {self.bytes_per_crop} bytes a crop, in {self.shards:,} shards"
        if not self.crops_left:
            return f"{crops}: {size}; nothing is left to label"
        left = "" if self.shards_left == self.shards else f"{self.shards_left:,} shards are left, "
        took = timedelta(seconds=max(1, round(self.seconds)))
        return f"{crops}: {size}; {left}about {took}, after one batch of {self.measured} crops"


def estimate(shards: ShardMap[LabelJob], workers: int) -> Estimate:
    """Count the bytes of a store, and time a batch of the shards that are left; ``workers`` decode."""
    work, header, layout, todo = shards.job, shards.job.header, shards.job.header.layout, shards.todo
    ids = sum(len(name.encode()) + 1 for name in work.dataset.ids[work.rows].tolist())
    fixed = HEAD.size + PROBES * PROBE.itemsize + DIGEST
    crops_left = shards.left
    size, seconds = (plan_views(work.rows_of(todo[0]), header.views_per_sample)[0].rows.size, 0.0) if todo else (0, 0.0)
    if todo:
        seconds = _seconds_per_crop(work, todo[0], workers // shards.processes)
        seconds *= crops_left / min(shards.processes, len(todo))
    return Estimate(
        samples=header.samples,
        views=header.views_per_sample,
        shards=header.shards,
        bytes=header.shards * fixed
        + 8 * header.samples
        + ids
        + header.samples * header.views_per_sample * layout.bytes_per_crop(),
        bytes_per_crop=layout.bytes_per_crop(),
        at_most=layout.mass is not None,
        crops_left=crops_left,
        shards_left=len(todo),
        seconds=seconds,
        measured=size,
    )


def _seconds_per_crop(work: LabelJob, number: int, workers: int) -> float:
    """Of a second batch: the first one is slow. Processes that decode work while the network does."""
    header = work.header
    plan = plan_views(work.rows_of(number), header.views_per_sample)[0]
    loader = work.loader
    if work.dataset.in_files:
        loader = make_loader(work.dataset, header.view_config(), work.device, 0)
    for _ in range(2):
        started = time.perf_counter()
        [batch] = loader.stream([plan], work.refinery.sizes, header.seed)
        _wait(work.device)
        loaded = time.perf_counter()
        work.answer(batch)
        answered = time.perf_counter()
    load, answer = loaded - started, answered - loaded
    together = max(load / workers, answer) if work.dataset.in_files and workers else load + answer
    return together / len(plan.rows)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def readable_bytes(count: int) -> str:
    """A number of bytes in words: 12.3 GB."""
    size, units = float(count), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"
