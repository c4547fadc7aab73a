"""Decode one image the way a person would see it: upright, 8 bits, grey or RGB."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from labelwise.errors import DataError

GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")

# What Pillow's decoders raise on foreign bytes; UnidentifiedImageError is an OSError.
BROKEN = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error, zlib.error)

# Not ImageOps.exif_transpose: it re-encodes the EXIF block, which fails on the odd tags some cameras write.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(file: Path | IO[bytes], channels: int, name: str | None = None) -> NDArray[np.uint8]:
    """Read an image as uint8 (H, W, channels).

    EXIF orientation is applied, 16-bit data is scaled to 8 bits by its full range (65535 becomes 255), transparency is
    laid over white, and palette, CMYK and grey images become what ``channels`` (1 or 3) asks for.

    Parameters
    ----------
    file : a path, or the encoded image as a file object
    channels : 1 (grey) or 3 (RGB)
    name : what an error calls the image; default: the path

    Raises
    ------
    DataError
        If the file is missing, truncated or not an image.
    """
    name = name or (str(file) if isinstance(file, Path) else "packed image")
    try:
        with Image.open(file) as image:
            image.load()
            return _to_uint8(_upright(image), channels)
    except FileNotFoundError:
        raise DataError(f"{name}: no such image") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: cannot be read as an image (empty, damaged, or no image format)") from None
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be read as an image ({error})") from None


def is_grey(file: Path | IO[bytes]) -> bool | None:
    """Whether an image is stored in grey, from its header alone; None if it cannot be read."""
    try:
        with Image.open(file) as image:
            return image.mode in GREY_MODES
    except (*BROKEN, Image.DecompressionBombError):
        return None


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except BROKEN:  # the pixels are fine, only the notes about them are not
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_uint8(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_to_uint8(image, channels)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    mode = "L" if channels == 1 else "RGB"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], channels)


def _deep_to_uint8(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """16-bit grey (modes I;16, I) by full range; floating point is taken as 0..1."""
    values = np.asarray(image, dtype=np.float64)
    values = np.nan_to_num(values) * 255 if image.mode == "F" else values / 257.0
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], channels, axis=2)
