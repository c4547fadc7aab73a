"""The values of 16-bit and floating point images that become black and white: one range for all images of a data set.

A camera of 12 bits, or a thermal one, uses a small part of what its files can hold. By their full range all such images
would be black, or one grey.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from labelwise.config import DataConfig
from labelwise.data.counter_rng import generator
from labelwise.data.dataset import Dataset
from labelwise.data.decode import extremes
from labelwise.data.memory import EncodedImages
from labelwise.data.notes import tell

MEASURED = 256
"""Training images that are looked at, at most."""

_NARROW = 0.25  # share of the full range below which it is not the range of the images
_ODD = 0.01  # share of the images whose extremes do not count: a few dead pixels


def with_value_range(dataset: Dataset, config: DataConfig) -> Dataset:
    """The data set with images in files read by one range: ``data.value_range``, or what its training images use.

    A line on stderr says a range that was measured.
    """
    source = dataset.source
    if not isinstance(source, EncodedImages) or config.value_range == "full":
        return dataset
    found = _measured(dataset, source, config.decoders) if config.value_range == "auto" else config.value_range
    if found is None:
        return dataset
    reading = dataclasses.replace(source.reading, value_range=found)
    return dataclasses.replace(dataset, source=dataclasses.replace(source, reading=reading), value_range=found)


def as_trained(config: DataConfig, value_range: tuple[float, float] | None) -> DataConfig:
    """The options of data that a finished network looks at: by its own range, where the options do not set one."""
    if config.value_range != "auto" or value_range is None:
        return config
    return config.model_copy(update={"value_range": value_range})


def _measured(dataset: Dataset, source: EncodedImages, workers: int) -> tuple[float, float] | None:
    """The range of training images with more than 8 bits; None where there are none, or where it is wide."""
    rows = dataset.rows("fit") if (dataset.split == "fit").any() else np.arange(len(dataset))
    if len(rows) > MEASURED:
        rows = generator("value range").choice(rows, MEASURED, replace=False)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = [one for one in pool.map(lambda row: extremes(source.file(int(row)), source.reading), rows) if one]
    if not found:
        return None
    least, greatest, white = np.array(found).T
    low = float(np.quantile(least, _ODD, method="closest_observation"))
    high = float(np.quantile(greatest, 1 - _ODD, method="closest_observation"))
    if low == high or (low >= 0 and high <= white.max() and high - low >= _NARROW * white.max()):
        return None
    tell(
        f"{dataset.name}: values of its 16-bit or floating point images are {low:g} to {high:g}; these become black and"
        f" white (data.value_range=full leaves the range at 0 to {white.max():g}, [LOW,HIGH] sets another)"
    )
    return low, high
