"""How many processes decode image files: ``data.workers: auto`` measures it."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Mapping

import numpy as np
import torch

from labelwise.config import ViewConfig
from labelwise.config.data import usable_cores
from labelwise.data.dataset import Dataset
from labelwise.data.loaders import FileLoader, make_loader
from labelwise.data.sampling import Shard, plan_training

BATCH, BATCHES = 32, 6
"""Images of a batch, and batches that are timed for every process beyond those that fill the queue."""

WORTH = 1.15
"""Twice the processes are worth it if they load that much faster."""


def choose_workers(dataset: Dataset, views: ViewConfig, size: int, device: torch.device) -> int:
    """The fewest processes, of 1, 2, 4, ... up to the cores, beyond which twice as many hardly load faster.

    The loader of training itself is measured, on images of ``fit``. Data in memory need no process: 0.
    """
    if not isinstance(make_loader(dataset, views, device), FileLoader):
        return 0
    rates: dict[int, float] = {}
    for workers in itertools.takewhile(lambda n: n <= cores(os.environ), (2**i for i in itertools.count())):
        rates[workers] = _rate(dataset, views, size, device, workers)
        if workers > 1 and rates[workers] < WORTH * rates[workers // 2]:
            break
    chosen = best_of(rates)
    told = ", ".join(f"{n}: {rate:,.0f}" for n, rate in rates.items())
    print(f"data.workers: {chosen}, by images a second ({told})", file=sys.stderr)
    return chosen


def best_of(rates: Mapping[int, float]) -> int:
    """The number of processes, by images a second of each number and its double."""
    return max((n for n in rates if n == 1 or rates[n] >= WORTH * rates[n // 2]), default=1)


def cores(environment: Mapping[str, str]) -> int:
    """The cores that this process may use, shared among the ranks of this machine."""
    return max(1, usable_cores() // int(environment.get("LOCAL_WORLD_SIZE", "1")))


def _rate(dataset: Dataset, views: ViewConfig, size: int, device: torch.device, workers: int) -> float:
    """Images a second, once every process is at work."""
    fit = dataset.rows("fit")
    rows = np.resize(fit, BATCH * BATCHES * (workers + 1))  # the first ones fill the queue
    plans = plan_training(rows, BATCH, views, 0, 0, Shard())
    batches = make_loader(dataset, views, device, workers).stream(plans, (size,), 0)
    for _ in itertools.islice(batches, workers + 1):
        pass
    started = time.perf_counter()
    seen = sum(len(batch) for batch in batches)
    return seen / max(time.perf_counter() - started, 1e-9)
