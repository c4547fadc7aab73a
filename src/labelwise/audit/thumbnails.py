"""Small pictures of the samples that an audit's page shows: ``thumbnails.npz``."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelwise.data.dataset import Dataset, Features
from labelwise.errors import DataError
from labelwise.runs import atomic_write

THUMBNAILS = "thumbnails.npz"
SIDES = (128, 96, 64)
"""Longest side in pixels; the next smaller one where the pictures together are too large for a page."""

MOST_BYTES = 2_400_000
QUALITY = 82


def write_thumbnails(dataset: Dataset, rows: NDArray[np.int64], folder: Path) -> None:
    """Write small JPEG pictures of some samples into the folder of an audit; nothing for embeddings.

    An image that cannot be decoded is left out. One that is small already keeps its size.

    Parameters
    ----------
    rows : (T,) rows of ``dataset``; one that is named twice is written once

    Notes
    -----
    ``thumbnails.npz`` holds ``id`` (T,) str, ``jpeg`` uint8, the files one after the other, and ``offset`` (T + 1,)
    int64, where each begins.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    if isinstance(dataset.source, Features):
        return
    ids: list[str] = []
    pictures: list[Image.Image] = []
    for row in dict.fromkeys(rows.tolist()):
        try:
            pixels = dataset.source.read(row)
        except DataError:
            continue
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        picture.thumbnail((SIDES[0], SIDES[0]), Image.Resampling.LANCZOS)
        ids.append(str(dataset.ids[row]))
        pictures.append(picture)
    files: list[bytes] = []
    for side in SIDES:
        files = [_jpeg(picture, side) for picture in pictures]
        if sum(map(len, files)) <= MOST_BYTES:
            break
    offset = np.cumsum([0, *map(len, files)], dtype=np.int64)
    blob = np.frombuffer(b"".join(files), dtype=np.uint8)
    found = {"id": np.array(ids, dtype=np.str_), "jpeg": blob, "offset": offset}
    atomic_write(folder / THUMBNAILS, lambda file: np.savez(file, **found))  # type: ignore[arg-type]


def _jpeg(picture: Image.Image, side: int) -> bytes:
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
