"""Read a data set: pick the reader, split what it found, hold it in memory where that pays.

One reader per file; each turns the configuration of its format into :class:`~labelwise.data.dataset.Samples`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from labelwise.config import (
    BuiltinConfig,
    ChexpertConfig,
    CocoConfig,
    DataConfig,
    EmbeddingsConfig,
    FolderConfig,
    HubConfig,
    MimicConfig,
    NihConfig,
    NpzConfig,
    OpenImagesConfig,
    TableConfig,
    ViewConfig,
    VocConfig,
    WebDatasetConfig,
    format_of,
    with_format,
)
from labelwise.data.corrected import read_corrected
from labelwise.data.dataset import Dataset, Samples
from labelwise.data.memory import to_memory
from labelwise.data.notes import assume
from labelwise.data.readers import (
    builtin,
    chexpert,
    coco,
    folder,
    hf,
    mimic,
    nih,
    npz,
    open_images,
    table,
    voc,
    webdataset,
)
from labelwise.data.readers.unlabelled import add_unlabelled, read_others
from labelwise.data.splits import prepare
from labelwise.data.value_range import with_value_range
from labelwise.data.votes import add_votes


def load_dataset(config: DataConfig, *, partial: bool = False) -> Dataset:
    """Read, relabel, split, correct and (``config.memory``) decode a data set.

    Parameters
    ----------
    partial : whether the caller can do with unlabelled samples and empty classes of single-label data. Then there is
        no split ``unlabelled``, and ``data.unlabelled`` is not read

    Raises
    ------
    DataError
        If the source is missing, not understood or damaged, cannot be split as asked, or is partly labelled for a
        caller that needs a class for every sample.
    """
    samples = read_samples(config)
    corrected = read_corrected(config.labels)
    plain = config if corrected is None else config.model_copy(update={"labels": None})
    dataset = prepare(samples, plain, partial=partial)
    if corrected is not None:
        dataset = corrected.lay_over(dataset, samples.ids)
    if config.votes is not None:
        dataset = add_votes(dataset, samples, config.votes)
    dataset = with_value_range(dataset, config)
    others = None if config.unlabelled is None or partial else read_others(config, dataset)
    source = to_memory(dataset.source, config.memory, config.memory_limit_gb, config.decoders)
    dataset = dataclasses.replace(dataset, source=source)
    return dataset if others is None else add_unlabelled(dataset, others, config)


def read_samples(config: DataConfig) -> Samples:
    """What the reader of the format finds, as the data says it: nothing split, dropped or relabelled."""
    if config.format == "auto":
        assume(f"{config.source}: its format is {format_of(config)} (data.format)")
    match with_format(config):
        case BuiltinConfig() as found:
            return builtin.read(found)
        case HubConfig() as found:
            return hf.read(found)
        case FolderConfig() as found:
            return folder.read(found)
        case TableConfig() as found:
            return table.read(found)
        case CocoConfig() as found:
            return coco.read(found)
        case OpenImagesConfig() as found:
            return open_images.read(found)
        case VocConfig() as found:
            return voc.read(found)
        case EmbeddingsConfig() as found:
            return npz.read_embeddings(found)
        case ChexpertConfig() as found:
            return chexpert.read(found)
        case MimicConfig() as found:
            return mimic.read(found)
        case NihConfig() as found:
            return nih.read(found)
        case WebDatasetConfig() as found:
            return webdataset.read(found)
        case NpzConfig() as found:
            return npz.read(found)
        case other:
            raise AssertionError(type(other))


def is_radiograph(config: DataConfig) -> bool:
    """Whether the images are radiographs by their format: left and right differ, so no view may be mirrored.

    Raises
    ------
    DataError
        If the format is to be found out, and the source is missing or not understood.
    """
    return isinstance(with_format(config), ChexpertConfig | MimicConfig | NihConfig)


def studies_of(config: DataConfig, ids: NDArray[np.str_]) -> NDArray[np.str_] | None:
    """The examination that each sample is a view of, where a format has such (CheXpert, MIMIC-CXR); else None."""
    found = with_format(config)
    if isinstance(found, MimicConfig):
        return np.array([name.rpartition("/")[0] for name in ids.tolist()], dtype=np.str_)
    if not isinstance(found, ChexpertConfig):
        return None
    return np.array([chexpert.study_of(name) for name in ids.tolist()], dtype=np.str_)


def views_of(config: DataConfig, views: ViewConfig) -> ViewConfig:
    """``views`` as they fit the data: radiographs are not mirrored unless ``views`` say so themselves."""
    if "flip" not in views.model_fields_set and is_radiograph(config):
        return views.model_copy(update={"flip": False})
    return views
