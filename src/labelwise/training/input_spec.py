"""Size, channels and normalisation of the data, for networks that do not bring their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelwise.config import ViewConfig
from labelwise.data.counter_rng import generator
from labelwise.data.dataset import Dataset, Features, PixelArray
from labelwise.models.classifier import InputSpec

FILE_SIZE = 224
"""Input side for images of many sizes, where the recipe does not say."""

MEASURED = 1024
"""Images that the normalisation is measured on, at most; of images in files an eighth, as each must be decoded."""


def measure_input_spec(dataset: Dataset, views: ViewConfig) -> InputSpec:
    """Input size and normalisation, measured on (a sample of) the fit split.

    Images: mean and standard deviation per channel. Embeddings: mean per feature and one standard deviation for all,
    which keeps their geometry.
    """
    rows, measured = dataset.rows("fit"), MEASURED
    if dataset.in_files:
        measured //= 8
    if len(rows) > measured:  # of all of them, as they may be sorted by class
        rows = np.sort(generator("normalisation").choice(rows, measured, replace=False))
    if isinstance(dataset.source, Features):
        values = dataset.source.values[rows].astype(np.float64)
        centre = values.mean(0)
        spread = max(float(np.sqrt(((values - centre) ** 2).mean())), 1e-6)
        return InputSpec("features", values.shape[1], 1, tuple(centre.tolist()), (spread,))
    size = min(dataset.source.pixels.shape[1:3]) if isinstance(dataset.source, PixelArray) else FILE_SIZE
    images = [dataset.source.read(int(row)) for row in rows]
    mean, std = _channel_statistics(images)
    return InputSpec(
        "image",
        views.size or size,
        images[0].shape[2],
        tuple(mean.tolist()),
        tuple(np.maximum(std, 1e-3).tolist()),
        views.interpolation,
        dataset.value_range,
    )


def _channel_statistics(images: list[NDArray[np.uint8]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel over all pixels, of values in [0, 1]."""
    count = sum(image.shape[0] * image.shape[1] for image in images)
    channels = images[0].shape[2]
    total, squares = np.zeros(channels), np.zeros(channels)
    for image in images:
        x = image.reshape(-1, channels) / 255.0
        total += x.sum(0)
        squares += (x**2).sum(0)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))
