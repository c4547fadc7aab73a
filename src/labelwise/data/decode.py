"""Decode one image the way a person would see it: upright, 8 bits, grey or RGB.

DICOM is read through the optional package pydicom. What its numbers stand for is in PS3.3 of the standard: C.11.1
(modality LUT, rescale), C.11.2 (VOI LUT, window) and C.7.6.3.1.2 (photometric interpretation).
"""

from __future__ import annotations

import io
import stat
import struct
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from labelwise.errors import DataError

GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")

DICOM_SUFFIXES = (".dcm", ".dicom")
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
SUFFIXES.update({".jfif", ".avif", ".heic", ".heif", ".hif"}, DICOM_SUFFIXES)

# What Pillow's decoders raise on foreign bytes; UnidentifiedImageError is an OSError.
BROKEN = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error, zlib.error)

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `_open` refuses what is too large

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


_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


class MissingPackage(DataError):
    """An image needs a package that is not installed."""


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    Attributes
    ----------
    max_pixels : larger images are refused
    value_range : values of 16-bit and floating point images that become 0 and 255; None for their full range, which is
        0 to 65535 or 0 to 1
    """

    max_pixels: int = 178_956_970
    value_range: tuple[float, float] | None = None


AS_STORED = Reading()


def decode_image(
    file: Path | IO[bytes], channels: int, name: str | None = None, reading: Reading = AS_STORED
) -> NDArray[np.uint8]:
    """Read an image as uint8 (H, W, channels).

    Of several frames the first is read. EXIF orientation is applied, 16-bit data is scaled to 8 bits by its range,
    transparency is laid over white, and palette, CMYK and grey images become what ``channels`` (1 or 3) asks for. Grey
    DICOM images (a path of ``DICOM_SUFFIXES``, or a file object that says so) are rescaled and shown through their VOI
    LUT, or their first window, or else by the full range of the bits stored; MONOCHROME1 is inverted.

    Parameters
    ----------
    file : a path, or the encoded image as a file object
    channels : 1 (grey) or 3 (RGB)
    name : what an error calls the image; default: the path
    reading : up to which size, and by which range of values

    Raises
    ------
    DataError
        If the file is missing, truncated, not an image or too large, or needs a package that is not installed
        (pydicom for DICOM, pillow-heif for HEIC).
    """
    name = name or (str(file) if isinstance(file, Path) else "packed image")
    if not _can_end(file):
        raise DataError(f"{name}: cannot be read as an image (no regular file)")
    if _is_dicom(file):
        return _decode_dicom(file, channels, name)
    try:
        data = file.read_bytes() if isinstance(file, Path) else file.read()
        with _open(io.BytesIO(data), name, reading.max_pixels) as image:
            pixels = _jpeg_pixels(data, image, channels)
            if pixels is not None:
                return pixels
            image.load()
            return _to_uint8(_upright(image), channels, reading.value_range)
    except FileNotFoundError:
        raise DataError(f"{name}: no such image") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: cannot be read as an image (empty, damaged, or no image format)") from None
    except BROKEN as error:
        raise DataError(f"{name}: cannot be read as an image ({error})") from None


def extremes(file: Path | IO[bytes], reading: Reading) -> tuple[float, float, float] | None:
    """Least and greatest value of a 16-bit or floating point image, and white of its full range; None for others, and
    where it cannot be read."""
    if _is_dicom(file) or not _can_end(file):
        return None
    try:
        with _open(file, "", reading.max_pixels) as image:
            if not _is_deep(image.mode):
                return None
            values = np.nan_to_num(np.asarray(image, dtype=np.float64))
            return float(values.min()), float(values.max()), _white(image.mode)
    except (*BROKEN, DataError):
        return None


@dataclass(frozen=True)
class Header:
    """What the header of an image tells: whether it is stored in grey, and whether other frames follow the first."""

    grey: bool
    frames: bool


def read_header(file: Path | IO[bytes], reading: Reading = AS_STORED) -> Header | None:
    """What the header of an image tells; None if it cannot be read.

    Raises
    ------
    DataError
        If it needs a package that is not installed: then no image of its kind can be read.
    """
    if not _can_end(file):
        return None
    if _is_dicom(file):
        pydicom = _pydicom(str(file) if isinstance(file, Path) else "packed image")
        try:
            header = pydicom.dcmread(file, specific_tags=["PhotometricInterpretation"], stop_before_pixels=True)
            return Header(str(header.PhotometricInterpretation).startswith("MONOCHROME"), False)
        except (*BROKEN, AttributeError, pydicom.errors.InvalidDicomError):
            return None
    try:
        with _open(file, str(file) if isinstance(file, Path) else "packed image", reading.max_pixels) as image:
            # Phones put previews and depth behind a photo (MPO), which are no frames.
            frames = image.format != "MPO" and bool(getattr(image, "is_animated", False))
            return Header(image.mode in GREY_MODES, frames)
    except MissingPackage:
        raise
    except (*BROKEN, DataError):
        return None


def _open(file: Path | IO[bytes], name: str, max_pixels: int) -> Image.Image:
    """The image, from its header alone."""
    try:
        return _open_known(file, name, max_pixels)
    except UnidentifiedImageError:
        if not _is_heif(file):
            raise
    try:
        import pillow_heif
    except ImportError:
        raise MissingPackage(f"{name}: HEIC needs the package pillow-heif: pip install 'labelwise[heif]'") from None
    pillow_heif.register_heif_opener()
    return _open_known(file, name, max_pixels)


def _is_heif(file: Path | IO[bytes]) -> bool:
    """By its first box; phones and their users call such files .heic, .heif, .hif and .jpg."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return _is_heif(opened)
    file.seek(4)
    kind, brand = file.read(4), file.read(4)
    file.seek(0)
    return kind == b"ftyp" and brand in _HEIF


def _open_known(file: Path | IO[bytes], name: str, max_pixels: int) -> Image.Image:
    """The image in a format that Pillow knows. It refuses twice its own limit before one can ask for the size."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        image = Image.open(file)
    except Image.DecompressionBombError:
        raise _too_large(name, f"more than {2 * max_pixels:,} pixels") from None
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise _too_large(name, f"{width:,} x {height:,} = {width * height:,} pixels")
    return image


def _too_large(name: str, size: str) -> DataError:
    return DataError(f"{name}: {size}, too large; data.max_pixels (predict: --max-pixels) says how many are read")


def _jpeg_pixels(data: bytes, image: Image.Image, channels: int) -> NDArray[np.uint8] | None:
    """The pixels of Pillow in two thirds of its time, for a JPEG that needs nothing but decoding; None for all others.

    torchvision hands over what libjpeg decodes; Pillow copies it twice. It is not imported for this alone, which would
    take seconds.
    """
    plain = image.format == "JPEG" and image.mode == ("L" if channels == 1 else "RGB")
    if not plain or "torchvision" not in sys.modules or _orientation(image) in _UPRIGHT:
        return None
    import torch
    from torchvision.io import decode_jpeg

    try:
        found = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    except RuntimeError:  # damaged: Pillow says how
        return None
    pixels: NDArray[np.uint8] = found.permute(1, 2, 0).numpy()
    return pixels if pixels.shape == (image.height, image.width, channels) else None


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except BROKEN:  # the pixels are fine, only the notes about them are not
        return None


def _upright(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _is_deep(mode: str) -> bool:
    return mode.startswith("I") or mode == "F"


def _white(mode: str) -> float:
    return 1.0 if mode == "F" else 65535.0


def _to_uint8(image: Image.Image, channels: int, value_range: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    if _is_deep(image.mode):
        return _deep_to_uint8(image, channels, value_range or (0.0, _white(image.mode)))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    mode = "L" if channels == 1 else "RGB"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], channels)


def _deep_to_uint8(image: Image.Image, channels: int, value_range: tuple[float, float]) -> NDArray[np.uint8]:
    """16-bit grey (modes I;16, I) and floating point (F), with the ends of the range as black and white."""
    low, high = value_range
    values = (np.nan_to_num(np.asarray(image, dtype=np.float64)) - low) * (255 / (high - low))
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], channels, axis=2)


def _can_end(file: Path | IO[bytes]) -> bool:
    """Whether reading ends: a pipe may wait for ever, and a device go on for ever. Of a file that is not there, whoever
    opens it says so."""
    try:
        return not isinstance(file, Path) or stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return True


def _is_dicom(file: Path | IO[bytes]) -> bool:
    if isinstance(file, Path):
        return file.suffix.lower() in DICOM_SUFFIXES
    file.seek(128)  # a preamble, then the letters
    letters = file.read(4)
    file.seek(0)
    return letters == b"DICM"


def _pydicom(name: str) -> Any:
    try:
        import pydicom
    except ImportError:
        raise MissingPackage(f"{name}: DICOM needs the package pydicom: pip install 'labelwise[dicom]'") from None
    return pydicom


def _decode_dicom(file: Path | IO[bytes], channels: int, name: str) -> NDArray[np.uint8]:
    pydicom = _pydicom(name)
    try:
        data = pydicom.dcmread(file)
        if int(data.get("NumberOfFrames") or 1) > 1:
            raise ValueError(f"{data.NumberOfFrames} frames, only single images are read")
        if not 1 <= data.BitsStored <= 16:
            raise ValueError(f"{data.BitsStored} bits a pixel, up to 16 are read")
        pixels, kind = data.pixel_array, data.PhotometricInterpretation
        if kind == "PALETTE COLOR":
            colour = pydicom.pixels.apply_color_lut(pixels, data)
            share = colour / np.iinfo(colour.dtype).max
        elif kind.startswith("MONOCHROME"):
            share = _shown(data, pixels.astype(np.float64))
            share = 1 - share if kind == "MONOCHROME1" else share
        else:  # pydicom has made RGB of the others
            share = pixels / (2**data.BitsStored - 1)
    except FileNotFoundError:
        raise DataError(f"{name}: no such image") from None
    except pydicom.errors.InvalidDicomError:
        raise DataError(f"{name}: cannot be read as an image (its content is not DICOM)") from None
    except (*BROKEN, AttributeError, RuntimeError) as error:  # also: no decoder for a compressed image
        raise DataError(f"{name}: cannot be read as a DICOM image ({' '.join(str(error).split())})") from None
    return _to_uint8(Image.fromarray(np.rint(share * 255).clip(0, 255).astype(np.uint8)), channels)


def _shown(data: Any, stored: NDArray[np.float64]) -> NDArray[np.float64]:
    """How bright grey pixels (H, W) of a DICOM data set are shown, from 0 to 1, before MONOCHROME1 is inverted."""
    low = -(2 ** (data.BitsStored - 1)) if data.PixelRepresentation else 0
    ends = np.array([low, low + 2**data.BitsStored - 1], dtype=np.float64)
    if data.get("ModalityLUTSequence"):
        values, high = _look_up(data, data.ModalityLUTSequence[0], stored)
        ends = np.array([0.0, high])
    else:
        slope, intercept = (data.get(key) for key in ("RescaleSlope", "RescaleIntercept"))
        slope, intercept = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
        values, ends = stored * slope + intercept, ends * slope + intercept
    if data.get("VOILUTSequence"):
        brightness, high = _look_up(data, data.VOILUTSequence[0], values)
        return brightness / high
    if data.get("WindowWidth") is not None and data.get("WindowCenter") is not None:
        centre, width = (float(np.atleast_1d(data[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
        return _window(values, centre, width, str(data.get("VOILUTFunction") or "LINEAR").upper())
    if ends[0] == ends[1]:
        raise ValueError("its rescale slope is 0")
    share: NDArray[np.float64] = (values - ends.min()) / np.ptp(ends)
    return share


def _window(values: NDArray[np.float64], centre: float, width: float, function: str) -> NDArray[np.float64]:
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"its VOI LUT function {function} is unknown")
    if width < 1 if function == "LINEAR" else width <= 0:
        raise ValueError(f"its window is {width:g} wide")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:  # black up to the centre, white above
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _look_up(data: Any, lut: Any, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """What a look-up table makes of values, and the largest value that it can hold."""
    entries, first, bits = lut.LUTDescriptor
    entries = entries or 2**16  # 65,536 does not fit its 16 bits
    table = lut.LUTData
    if isinstance(table, bytes):
        words = "<u2" if data.original_encoding[1] else ">u2"
        table = np.frombuffer(table, np.uint8 if len(table) < 2 * entries else words)
    table = np.atleast_1d(np.asarray(table, dtype=np.float64))[:entries]
    place = np.clip(np.rint(values) - first, 0, len(table) - 1).astype(np.int64)
    return table[place], 2**bits - 1
