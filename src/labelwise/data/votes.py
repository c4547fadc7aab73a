"""What several people said about each sample, such as CIFAR-10H: scored against, never learned or selected from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelwise.config import VotesConfig
from labelwise.data.dataset import Dataset, Samples
from labelwise.data.files import read_arrays
from labelwise.errors import DataError


def add_votes(dataset: Dataset, samples: Samples, config: VotesConfig) -> Dataset:
    """``dataset`` with the votes of its samples as shares of the votes for its classes.

    Votes follow a sample by its id into whatever split it is in, so limits and held-out shares do not matter. Of data
    with fewer classes than the file (``data.classes``), the votes for the others are left out: the shares are those
    among the classes that are kept, and a sample whose votes are all for others counts as one without votes.

    Parameters
    ----------
    dataset : what became of ``samples``; single-label
    samples : what the reader found, in its order
    config : file, key and part; its rows are the samples of the part in the reader's order, its columns the classes

    Raises
    ------
    DataError
        Naming the file and the key: missing, of another shape, votes that are no finite numbers from 0, or a row
        without a vote; or if the data has no such part, or is multi-label.
    """
    if samples.table is not None:
        raise DataError(f"{samples.name}: multi-label data; data.votes is for single-label data, leave it out")
    own = np.flatnonzero(_in_part(samples, config.split))
    counts = _read(config, (len(own), len(samples.classes)), samples.name)[:, : dataset.num_classes]
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    votes = np.full((len(dataset), dataset.num_classes), np.nan, dtype=np.float32)
    place = {name: row for row, name in enumerate(dataset.ids.tolist())}
    pairs = [(place[name], row) for row, name in enumerate(samples.ids[own].tolist()) if name in place]
    if pairs:
        here, there = np.array(pairs).T
        votes[here] = shares[there]
    return dataclasses.replace(dataset, votes=votes)


def _in_part(samples: Samples, split: str) -> NDArray[np.bool_]:
    """Which samples (N,) the data itself calls ``split``; a validation part is the test part if there is no other."""
    parts = set(samples.part.tolist())
    test = "test" if "test" in parts else "val"
    names = (test,) if split == "test" else ("train", "fit", "")
    if not parts & set(names):
        raise DataError(f"data.votes.split: {samples.name} has no {split} part of its own")
    return np.isin(samples.part, names)


def _read(config: VotesConfig, shape: tuple[int, int], name: str) -> NDArray[np.float64]:
    path = Path(config.file)
    arrays, where = read_arrays(path), f"{path}: {config.key}"
    if config.key not in arrays:
        raise DataError(f"{path}: no key {config.key!r} of votes (data.votes.key); it has {', '.join(sorted(arrays))}")
    counts = arrays[config.key]
    if counts.shape != shape or counts.dtype.kind not in "buif":
        raise DataError(
            f"{where} is {counts.dtype} of shape {counts.shape}, expected numbers {shape}: a row for each"
            f" {config.split} sample of {name}, a column for each class"
        )
    votes = counts.astype(np.float64)
    for bad, problem in (
        (~np.isfinite(votes).all(axis=1), "holds NaN or an infinite number"),
        ((votes < 0).any(axis=1), "holds a negative number of votes"),
        ((votes == 0).all(axis=1), "has no vote"),
    ):
        if (rows := np.flatnonzero(bad)).size:
            more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
            raise DataError(f"{where}: row {rows[0]} {problem}{more}")
    return votes
