"""Every row of the table "Images" of docs/how-to/data-in.md is made, read and compared."""

from __future__ import annotations

import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers.data import data_config
from helpers.data_in import Checks, Row
from labelwise.data.decode import AS_STORED, Reading, decode_image
from labelwise.data.notes import tell
from labelwise.data.readers import read_samples
from labelwise.data.readers.unlabelled import read_unlabelled

check = Checks("Images")

SMOOTH = np.stack([*np.meshgrid(np.arange(16) * 16, np.arange(24) * 10, indexing="ij"), np.full((16, 24), 99)], axis=2)
PICTURE = Image.fromarray(SMOOTH.astype(np.uint8))


def close(row: Row, expected: Any, tolerance: int = 0, channels: int = 3) -> None:
    found = decode_image(row.path, channels).astype(int)
    np.testing.assert_allclose(found, np.asarray(expected).reshape(found.shape).astype(int), atol=tolerance)


@check("JPEG")
def _(row: Row) -> None:
    PICTURE.save(row.path, quality=95)
    close(row, np.asarray(Image.open(row.path)))
    close(row, SMOOTH, 12)


@check("an ending in capital letters")
def _(row: Row) -> None:
    PICTURE.save(row.path)
    close(row, SMOOTH)
    (row.folder / "b").mkdir()
    row.path.rename(row.folder / "b" / row.file)
    assert read_samples(data_config({"source": str(row.folder)})).ids.tolist() == [f"b/{row.file}"]


@check("a wrong ending, such as a PNG that is called JPEG")
def _(row: Row) -> None:
    PICTURE.save(row.path, "PNG")
    close(row, SMOOTH)


@check("WebP")
def _(row: Row) -> None:
    PICTURE.save(row.path, lossless=True)
    close(row, SMOOTH)


@check("AVIF")
def _(row: Row) -> None:
    PICTURE.save(row.path, quality=100, subsampling="4:4:4")
    close(row, SMOOTH, 4)


@check("HEIC, also where it is called JPEG")
def _(row: Row) -> None:
    """As it is without the extra; with it, tests of decoding read one."""
    row.write(row.file, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        row.refused(lambda: decode_image(row.path, 3))
        row.refused(lambda: decode_image(row.path.rename(row.folder / "a.jpg"), 3))


@check("JPEG 2000")
def _(row: Row) -> None:
    PICTURE.save(row.path)
    close(row, SMOOTH)


@check("one bit a pixel")
def _(row: Row) -> None:
    Image.fromarray(np.array([[True, False, True]])).save(row.path)
    close(row, [255, 0, 255], channels=1)


@check("16-bit grey")
def _(row: Row) -> None:
    Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)).save(row.path)
    close(row, [0, 1, 128, 255], channels=1)


@check("16-bit colour")
def _(row: Row) -> None:
    line = b"\0" + struct.pack(">6H", 0x1234, 0x00FF, 0xFF00, 0x8000, 0x7FFF, 0xFFFF)
    parts = [b"IHDR" + struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(line), b"IEND"]
    packed = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    row.write(row.file, b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    close(row, [[0x12, 0, 0xFF], [0x80, 0x7F, 0xFF]])


@check("floating point")
def _(row: Row) -> None:
    Image.fromarray(np.array([[0, 0.5, 1, 2]], dtype=np.float32)).save(row.path)
    close(row, [0, 128, 255, 255], channels=1)


@check("CMYK")
def _(row: Row) -> None:
    PICTURE.convert("CMYK").save(row.path, quality=100, subsampling="4:4:4")
    close(row, SMOOTH, 6)


@check("YCCK, as Adobe writes it")
def _(row: Row) -> None:
    """Stored planes Y, Cb, Cr and K without colour; C, M and Y are what the grey Y leaves."""
    planes = np.full((16, 16, 4), (200, 128, 128, 255), dtype=np.uint8)  # as Pillow inverts them: 55, 127, 127, 0
    Image.fromarray(255 - planes, "CMYK").save(row.path, quality=100, subsampling="4:4:4")
    data = row.path.read_bytes()
    place = data.index(b"Adobe\0")
    row.path.write_bytes(data[: place + 11] + b"\2" + data[place + 12 :])
    with Image.open(row.path) as image:
        assert image.mode == "CMYK" and image.info["adobe_transform"] == 2
    close(row, np.full((16, 16, 3), 255 - 200), 3)


@check("a palette with transparency")
def _(row: Row) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(row.path, transparency=0)
    close(row, [[255, 255, 255], [0, 0, 255]])


@check("partly transparent colour")
def _(row: Row) -> None:
    Image.new("RGBA", (1, 1), (0, 100, 255, 51)).save(row.path)
    close(row, [204, 224, 255], 1)


def _first_of_several(row: Row, **options: Any) -> None:
    folder = row.folder / "class"
    folder.mkdir()
    frames = [Image.new("L", (4, 4), shade) for shade in (40, 200)]
    for name in (row.file, f"again-{row.file}"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], **options)
    source = read_samples(data_config({"source": str(row.folder)})).source
    assert row.printed().count("the first one is read") == 1
    tell.cache_clear()
    read_samples(data_config({"source": str(row.folder), "channels": 3}))
    assert row.printed().count("the first one is read") == 1
    tell.cache_clear()
    read_unlabelled(row.folder, ("class",), 3, AS_STORED, skip_unreadable=False)  # what predict looks at
    assert row.printed().count("the first one is read") == 1
    assert {int(source.read(i).mean()) for i in range(2)} == {40}


@check("an animation")
def _(row: Row) -> None:
    _first_of_several(row)


@check("several pages")
def _(row: Row) -> None:
    _first_of_several(row)


@check("turned by EXIF")
def _(row: Row) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(row.path, quality=95, exif=exif)
    close(row, np.asarray(ImageOps.exif_transpose(Image.open(row.path))))
    assert decode_image(row.path, 3).shape == (24, 16, 3)


@check("cut off")
def _(row: Row) -> None:
    PICTURE.save(row.path, quality=95)
    row.path.write_bytes(row.path.read_bytes()[:-200])
    row.refused(lambda: decode_image(row.path, 3))


@check("larger than `data.max_pixels`")
def _(row: Row) -> None:
    PICTURE.save(row.path)
    row.refused(lambda: decode_image(row.path, 3, reading=Reading(16 * 24 - 1)))


@check("`.DS_Store`, `Thumbs.db`, other kinds of files")
def _(row: Row) -> None:
    row.draw("cat/0.png", "dog/0.png")
    for name in (".DS_Store", row.file, "a.svg"):
        row.write(f"cat/{name}", b"x")
    assert read_samples(data_config({"source": str(row.folder)})).ids.tolist() == ["cat/0.png", "dog/0.png"]
    assert re.search(r"left out: 3 \((hidden 1|\.db 1|\.svg 1), ", row.printed())


@pytest.mark.parametrize("place", range(len(check.rows)), ids=lambda place: check.rows[place].what)
def test_the_row_is_true(place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.run(place, tmp_path, capsys)
