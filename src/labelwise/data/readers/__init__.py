"""Read a data set: pick the reader, split what it found, hold it in memory where that pays.

One reader per file; each turns a :class:`~labelwise.config.DataConfig` into :class:`~labelwise.data.dataset.Samples`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from labelwise.config import DataConfig
from labelwise.data.dataset import Dataset, Samples
from labelwise.data.memory import to_memory
from labelwise.data.readers import builtin, folder, hf, npz, table
from labelwise.data.splits import prepare
from labelwise.errors import DataError


def load_dataset(config: DataConfig, *, partial: bool = False) -> Dataset:
    """Read, relabel, split and (``config.memory``) decode a data set.

    Parameters
    ----------
    partial : whether the caller can do with unknown labels: multi-label data, unlabelled samples, empty classes

    Raises
    ------
    DataError
        If the source is missing, not understood or damaged, cannot be split as asked, or is partly labelled or
        multi-label for a caller that needs one class per sample.
    """
    samples = read_samples(config)
    if samples.table is not None and not partial:
        raise DataError(
            f"{config.source}: multi-label data, but one class per sample is needed here; use `labelwise features` and"
            " `labelwise cft`"
        )
    dataset = prepare(samples, config, partial=partial)
    source = to_memory(dataset.source, config.memory, config.memory_limit_gb, config.workers)
    return dataclasses.replace(dataset, source=source)


def read_samples(config: DataConfig) -> Samples:
    """What the reader of ``config.format`` finds, as the data says it: nothing split, dropped or relabelled."""
    match config.format if config.format != "auto" else _format_of(config.source):
        case "builtin":
            return builtin.read(config)
        case "hf":
            return hf.read(config)
        case "folder":
            return folder.read(config)
        case "table":
            return table.read(config)
        case "embeddings":
            return npz.read_embeddings(config)
        case _:
            return npz.read(config)


def _format_of(source: str) -> str:
    path = Path(source)
    if source in builtin.NAMES:
        return "builtin"
    if source.startswith("hf:"):
        return "hf"
    if path.is_dir():
        return "folder"
    by_suffix = {".npz": "npz", ".csv": "table", ".parquet": "table"}
    if path.suffix.lower() in by_suffix:
        return by_suffix[path.suffix.lower()]
    exists = "not understood" if path.exists() else "no such folder or file"
    raise DataError(
        f"data.source {source!r}: {exists}; understood are {', '.join(builtin.NAMES)}, a folder of class folders,"
        " .npz, .csv, .parquet and hf:NAME"
    )
