"""Read a data set: pick the reader, split what it found, hold it in memory where that pays.

One reader per file; each turns a :class:`~labelwise.config.DataConfig` into :class:`~labelwise.data.dataset.Samples`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelwise.config import DataConfig, ViewConfig
from labelwise.data.dataset import Dataset, Samples
from labelwise.data.memory import to_memory
from labelwise.data.readers import builtin, chexpert, coco, folder, hf, nih, npz, open_images, table, voc
from labelwise.data.splits import prepare
from labelwise.data.votes import add_votes
from labelwise.errors import DataError


def load_dataset(config: DataConfig, *, partial: bool = False) -> Dataset:
    """Read, relabel, split and (``config.memory``) decode a data set.

    Parameters
    ----------
    partial : whether the caller can do with unlabelled samples and empty classes of single-label data

    Raises
    ------
    DataError
        If the source is missing, not understood or damaged, cannot be split as asked, or is partly labelled for a
        caller that needs a class for every sample.
    """
    samples = read_samples(config)
    dataset = prepare(samples, config, partial=partial)
    if config.votes is not None:
        dataset = add_votes(dataset, samples, config.votes)
    source = to_memory(dataset.source, config.memory, config.memory_limit_gb, config.workers)
    return dataclasses.replace(dataset, source=source)


def read_samples(config: DataConfig) -> Samples:
    """What the reader of ``config.format`` finds, as the data says it: nothing split, dropped or relabelled."""
    match _format(config):
        case "builtin":
            return builtin.read(config)
        case "hf":
            return hf.read(config)
        case "folder":
            return folder.read(config)
        case "table":
            return table.read(config)
        case "coco":
            return coco.read(config)
        case "open_images":
            return open_images.read(config)
        case "voc":
            return voc.read(config)
        case "embeddings":
            return npz.read_embeddings(config)
        case "chexpert":
            return chexpert.read(config)
        case "nih":
            return nih.read(config)
        case _:
            return npz.read(config)


def is_radiograph(config: DataConfig) -> bool:
    """Whether the images are radiographs by their format: left and right differ, so no view may be mirrored.

    Raises
    ------
    DataError
        If the format is to be found out, and the source is missing or not understood.
    """
    return _format(config) in ("chexpert", "nih")


def studies_of(config: DataConfig, ids: NDArray[np.str_]) -> NDArray[np.str_] | None:
    """The examination that each sample is a view of, where a format has such (CheXpert); else None."""
    if _format(config) != "chexpert":
        return None
    return np.array([chexpert.study_of(name) for name in ids.tolist()], dtype=np.str_)


def views_of(config: DataConfig, views: ViewConfig) -> ViewConfig:
    """``views`` as they fit the data: radiographs are not mirrored unless ``views`` say so themselves."""
    if "flip" not in views.model_fields_set and is_radiograph(config):
        return views.model_copy(update={"flip": False})
    return views


def _format(config: DataConfig) -> str:
    return config.format if config.format != "auto" else _format_of(config.source)


def _format_of(source: str) -> str:
    path = Path(source)
    if source in builtin.NAMES:
        return "builtin"
    if source.startswith("hf:"):
        return "hf"
    if path.is_dir():
        return _format_of_folder(path)
    by_suffix = {".npz": "npz", ".csv": "table", ".parquet": "table", ".json": "coco"}
    if path.suffix.lower() in by_suffix:
        return by_suffix[path.suffix.lower()]
    exists = "not understood" if path.exists() else "no such folder or file"
    raise DataError(
        f"data.source {source!r}: {exists}; understood are {', '.join(builtin.NAMES)}, a folder of class folders,"
        " .npz, .csv, .parquet, hf:NAME and the published layouts of MS-COCO, Open Images, Pascal VOC, CheXpert and NIH"
    )


def _format_of_folder(path: Path) -> str:
    """By the files that a published data set cannot do without; a folder of class folders otherwise."""
    if any(path.glob("annotations/instances_*.json")):
        return "coco"
    if voc.years(path):
        return "voc"
    if open_images.annotation_files(path):
        return "open_images"
    if any(path.glob("Data_Entry_2017*.csv")):
        return "nih"
    if (path / "valid.csv").is_file() and (path / "train.csv").is_file():
        with (path / "train.csv").open(encoding="utf-8", errors="replace") as file:
            return "chexpert" if "Frontal/Lateral" in file.readline() else "folder"
    return "folder"
