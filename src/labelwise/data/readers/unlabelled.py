"""Images or embeddings that have no labels yet: what ``labelwise predict`` looks at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelwise.config import NpzConfig
from labelwise.data.dataset import Dataset, Features, ImageFiles, ImageSource
from labelwise.data.files import read_arrays
from labelwise.data.memory import image_sizes
from labelwise.data.readers import npz
from labelwise.data.readers.folder import images_under
from labelwise.errors import DataError


def read_unlabelled(source: Path, classes: tuple[str, ...], channels: int, *, skip_unreadable: bool) -> Dataset:
    """Every image under a folder, one image file, or an .npz of images or embeddings; all of it in the test split.

    Parameters
    ----------
    classes : of the network that will look at it
    channels : that the network wants, 1 or 3
    skip_unreadable : leave unreadable images out and list them, instead of failing on the first

    Raises
    ------
    DataError
        If the source is missing, empty or damaged.
    """
    pixels: ImageSource | Features
    if source.suffix.lower() == ".npz":
        config = NpzConfig(source=str(source), channels=3 if channels == 3 else 1)
        pixels = npz.read_source(source, read_arrays(source), config)
        ids = np.arange(len(pixels)).astype(str)
    else:
        if not source.exists():
            raise DataError(f"{source}: no such folder or image")
        paths = images_under(source) if source.is_dir() else [source]
        if not paths:
            raise DataError(f"{source}: no images in it")
        root = source if source.is_dir() else source.parent
        pixels = ImageFiles(tuple(paths), channels)
        ids = np.array([path.relative_to(root).as_posix() for path in paths])
    unreadable: list[str] = []
    if skip_unreadable:
        _, broken = image_sizes(pixels, workers=2)
        unreadable = [f"{ids[row]}: {message}" for row, message in broken]
        kept = np.delete(np.arange(len(ids)), [row for row, _ in broken])
        pixels, ids = pixels.take(kept), ids[kept]
    n = len(ids)
    return Dataset(
        name=source.name,
        classes=classes,
        ids=ids,
        groups=ids,
        label=np.full(n, -1, dtype=np.int64),
        split=np.full(n, "test"),
        source=pixels,
        unreadable=tuple(unreadable),
    )
