"""Many images at once: which are unreadable, grey or colour, and all of them decoded into one array."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelwise.config import DataConfig
from labelwise.data.dataset import Dataset, Features, ImageFiles, ImageSource, PackedImages, PixelArray, Samples
from labelwise.data.decode import Header, Reading, read_header
from labelwise.data.notes import assume, tell
from labelwise.data.tars import TarImages
from labelwise.errors import DataError

EncodedImages = ImageFiles | PackedImages | TarImages
"""Images that can be looked at before they are decoded."""

Encoded = TypeVar("Encoded", ImageFiles, PackedImages, TarImages)

_CHUNK = 256  # images a thread takes at a time
_SMALL = 80 * 80  # pixels; below, Python's share of the work makes two threads slower than one
_LOOKED_AT = 512  # images whose headers decide between grey and colour
_FEW = 0.05  # share of images in colour among grey ones that does not make all of them colour


def image_sizes(source: ImageSource | Features, workers: int) -> tuple[NDArray[np.int64], list[tuple[int, str]]]:
    """Decode every image once.

    Parameters
    ----------
    source : images; Features have no images, their sizes are 0
    workers : threads

    Returns
    -------
    sizes : (N, 2) height and width, 0 where unreadable
    unreadable : (row, message) in the order of the rows
    """
    sizes = np.zeros((len(source), 2), dtype=np.int64)
    if isinstance(source, PixelArray):
        sizes[:] = source.pixels.shape[1:3]
    if isinstance(source, (PixelArray, Features)):
        return sizes, []

    def look(rows: range) -> list[tuple[int, str]]:
        failed = []
        for row in rows:
            try:
                sizes[row] = source.read(row).shape[:2]
            except DataError as error:
                failed.append((row, str(error)))
        return failed

    with ThreadPoolExecutor(_threads(source, workers)) as pool:
        return sizes, [entry for part in pool.map(look, _chunks(len(source))) for entry in part]


def find_unreadable(samples: Samples, workers: int) -> list[tuple[int, str]]:
    """Rows whose image cannot be decoded, each with the reason; decodes every image that is not in memory yet."""
    return image_sizes(samples.source, workers)[1]


def refuse_unreadable(dataset: Dataset, workers: int) -> None:
    """Decode what will be scored, so that a broken image is found before networks are trained; training finds its own
    in the first epoch.

    Raises
    ------
    DataError
        With the first image that cannot be read, and how many there are.
    """
    rows = np.concatenate([dataset.rows("select"), dataset.rows("test")])
    broken = image_sizes(dataset.source.take(rows), workers)[1]
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise DataError(f"{broken[0][1]}{more}; repair it, or set data.unreadable: skip")


def to_memory(
    source: ImageSource | Features,
    mode: Literal["auto", "yes", "no"],
    limit_gb: float,
    workers: int,
) -> ImageSource | Features:
    """Decode images of one size into a :class:`PixelArray`.

    Parameters
    ----------
    source : what is in memory already stays as it is
    mode : ``auto`` decodes where all images have one size and fit the budget, ``yes`` insists, ``no`` leaves them
    limit_gb : budget of the decoded pixels in 10^9 bytes
    workers : threads that decode

    Raises
    ------
    DataError
        If an image is unreadable; with ``yes``, if sizes differ or the budget is too small.
    """
    if mode == "no" or len(source) == 0 or not isinstance(source, EncodedImages):
        return source
    shape = source.read(0).shape
    needed = len(source) * int(np.prod(shape)) / 1e9
    if needed > limit_gb:
        if mode == "yes":
            raise DataError(f"data.memory: yes needs {needed:.1f} GB, data.memory_limit_gb is {limit_gb:g}")
        return source
    pixels = np.empty((len(source), *shape), dtype=np.uint8)

    def fill(rows: range) -> tuple[int, int] | None:
        """Decode a chunk; the size of the first image that differs."""
        for row in rows:
            image = source.read(row)
            if image.shape != shape:
                return image.shape[0], image.shape[1]
            pixels[row] = image
        return None

    with ThreadPoolExecutor(_threads(source, workers)) as pool:
        for other in pool.map(fill, _chunks(len(source))):
            if other is not None:
                pool.shutdown(cancel_futures=True)
                if mode == "auto":
                    return source
                raise DataError(
                    f"data.memory: yes needs images of one size, found {shape[1]}x{shape[0]} and {other[1]}x{other[0]};"
                    " set data.memory: no"
                )
    return PixelArray(pixels)


def as_asked(source: Encoded, config: DataConfig) -> Encoded:
    """Encoded images, to be read as the options say: grey or colour, and up to which size."""
    source = dataclasses.replace(source, reading=Reading(config.max_pixels))
    if config.channels != "auto":
        _headers(source, config.source)
        return dataclasses.replace(source, channels=config.channels)
    channels = guess_channels(source, config.source)
    assume(f"{config.source}: images are read in {'grey' if channels == 1 else 'colour'} (data.channels)")
    return dataclasses.replace(source, channels=channels)


def guess_channels(source: EncodedImages, name: str = "the images") -> int:
    """1 if nearly all of a fixed sample of the images are stored in grey, otherwise 3.

    Lines on stderr say if some are not what most are, and if some have several frames.
    """
    headers = _headers(source, name)
    of = "" if len(headers) == len(source) else " looked at"
    colour = sum(not header.grey for header in headers)
    if not headers or colour > _FEW * len(headers):
        return 3
    if colour:
        tell(
            f"{name}: {colour:,} of {len(headers):,} images{of} are in colour, the others in grey; all are read as grey"
            " (data.channels=3 reads them in colour)"
        )
    return 1


def _headers(source: EncodedImages, name: str) -> list[Header]:
    """The headers that can be read of a fixed sample of the images. A line on stderr says if some have more frames."""
    rows = np.random.default_rng(0).permutation(len(source))[:_LOOKED_AT]
    headers = [header for row in rows if (header := read_header(source.file(row), source.reading)) is not None]
    of = "" if len(headers) == len(source) else " looked at"
    if frames := sum(header.frames for header in headers):
        tell(f"{name}: {frames:,} of {len(headers):,} images{of} have several frames or pages; the first one is read")
    return headers


def with_channels(pixels: NDArray[np.uint8], channels: Literal["auto", 1, 3]) -> NDArray[np.uint8]:
    """Images (N, H, W, C) with the channels asked for; ``auto`` leaves them. Grey is Pillow's (ITU-R 601) luma."""
    if channels == "auto" or pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=3)
    n, height, width, _ = pixels.shape
    grey = Image.fromarray(pixels.reshape(n * height, width, 3)).convert("L")
    return np.asarray(grey).reshape(n, height, width, 1)


def _threads(source: ImageSource, workers: int) -> int:
    """Threads that pay for images like the first one; an unreadable one says nothing about the others."""
    try:
        height, width, _ = source.read(0).shape
    except (DataError, IndexError):
        return max(1, workers)
    return 1 if height * width < _SMALL else max(1, workers)


def _chunks(n: int) -> Iterator[range]:
    return (range(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK))
