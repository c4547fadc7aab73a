"""Every kind of image file becomes upright uint8 grey or RGB; many at once become one array."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torchvision  # decodes JPEGs where it is loaded
from PIL import Image, ImageOps

from labelwise.data.dataset import Features, ImageFiles, PackedImages, PixelArray
from labelwise.data.decode import Reading, decode_image, read_header
from labelwise.data.memory import guess_channels, image_sizes, to_memory, with_channels
from labelwise.errors import DataError

RAMP = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def pack(images: list[Image.Image]) -> PackedImages:
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    stop = np.cumsum([len(data) for data in encoded])
    return PackedImages(np.frombuffer(b"".join(encoded), np.uint8), np.concatenate([[0], stop[:-1]]), stop, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_png(tmp_path, channels):
    pixels = decode_image(save(tmp_path / "a.png", Image.fromarray(RAMP)), channels)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.repeat(RAMP[..., None], channels, axis=2))


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_scaled_by_its_full_range(tmp_path, channels):
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        pixels = decode_image(save(tmp_path / name, Image.fromarray(deep)), channels)
        np.testing.assert_array_equal(pixels[0, :, 0], [0, 1, 128, 255])
        assert pixels.shape == (1, 4, channels)


def test_float_tiff_is_taken_as_0_to_1(tmp_path):
    values = np.array([[0, 0.5, 1, 2]], dtype=np.float32)
    pixels = decode_image(save(tmp_path / "a.tif", Image.fromarray(values)), 1)
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 128, 255, 255])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    inverse = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", inverse[orientation](upright), exif=exif)
    np.testing.assert_array_equal(decode_image(path, 1)[..., 0], np.asarray(upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_does_not_hide_the_pixels(tmp_path, exif):
    path = save(tmp_path / "a.jpg", Image.new("RGB", (5, 4), "red"), exif=exif)
    assert decode_image(path, 3).shape == (4, 5, 3)


def test_transparency_is_laid_over_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    expected = [[255, 255, 255], [0, 0, 255]]
    np.testing.assert_array_equal(decode_image(save(tmp_path / "p.png", palette, transparency=0), 3)[0], expected)

    rgba = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    rgba.putpixel((1, 0), (0, 0, 255, 255))
    np.testing.assert_array_equal(decode_image(save(tmp_path / "r.png", rgba), 3)[0], expected)

    grey = Image.new("LA", (2, 1), (0, 0))
    grey.putpixel((1, 0), (7, 255))
    np.testing.assert_array_equal(decode_image(save(tmp_path / "g.png", grey), 1)[0, :, 0], [255, 7])


@pytest.mark.parametrize("channels", [1, 3])
def test_cmyk_grey_and_bilevel(tmp_path, channels):
    cmyk = save(tmp_path / "c.jpg", Image.new("RGB", (8, 8), "white").convert("CMYK"))
    grey = save(tmp_path / "g.jpg", Image.new("L", (8, 8), 255))
    bilevel = save(tmp_path / "b.png", Image.new("1", (8, 8), 1))
    for path in (cmyk, grey, bilevel):
        pixels = decode_image(path, channels)
        assert pixels.shape == (8, 8, channels)
        assert pixels.min() >= 253


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.9])
def test_truncated_jpeg_names_the_file(tmp_path, keep):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "broken.jpg", Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(DataError, match=r"broken\.jpg: cannot be read as an image"):
        decode_image(path, 3)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: no such image"):
        decode_image(tmp_path / "a.png", 3)
    (tmp_path / "notes.png").write_text("not an image")
    with pytest.raises(DataError, match=r"notes\.png: cannot be read"):
        decode_image(tmp_path / "notes.png", 3)


def test_a_broken_packed_image_says_where_it_is():
    packed = pack([Image.new("L", (4, 4)), Image.new("L", (4, 4))])
    broken = PackedImages(packed.blob, packed.start, packed.stop - np.array([0, 40]), 3)
    sizes, unreadable = image_sizes(broken, 2)
    assert sizes.tolist() == [[4, 4], [0, 0]]
    assert [row for row, _ in unreadable] == [1]
    assert f"bytes {broken.start[1]}:{broken.stop[1]}" in unreadable[0][1]


@pytest.mark.parametrize("side", [8, 100])
def test_images_of_one_size_become_an_array(side):
    noise = np.random.default_rng(0).integers(0, 256, (600, side, side, 3), dtype=np.uint8)
    packed = pack([Image.fromarray(pixels) for pixels in noise[: 600 if side == 8 else 20]])
    array = to_memory(packed, "auto", 1.0, 2)
    assert isinstance(array, PixelArray)
    np.testing.assert_array_equal(array.pixels, noise[: len(packed)])
    assert to_memory(packed, "no", 1.0, 2) is packed
    assert to_memory(packed, "auto", 1e-6, 2) is packed
    with pytest.raises(DataError, match="memory_limit_gb"):
        to_memory(packed, "yes", 1e-6, 2)


def test_images_of_several_sizes_stay_files(tmp_path):
    paths = tuple(save(tmp_path / f"{side}.png", Image.new("RGB", (side, 4))) for side in (4, 5, 6))
    files = ImageFiles(paths, 3)
    assert to_memory(files, "auto", 1.0, 2) is files
    with pytest.raises(DataError, match="one size, found 4x4 and 5x4"):
        to_memory(files, "yes", 1.0, 2)
    features = Features(np.zeros((2, 3), dtype=np.float32))
    assert to_memory(features, "yes", 1.0, 2) is features


def test_channels_are_guessed_from_headers(tmp_path):
    grey = [save(tmp_path / f"{i}.png", Image.new("L", (4, 4))) for i in range(3)]
    colour = save(tmp_path / "c.png", Image.new("RGB", (4, 4)))
    (tmp_path / "broken.png").write_text("")
    assert guess_channels(ImageFiles((*grey, tmp_path / "broken.png"), 3)) == 1
    assert guess_channels(ImageFiles((*grey, colour), 3)) == 3
    assert guess_channels(ImageFiles((tmp_path / "broken.png",), 3)) == 3


def test_few_colour_images_among_grey_ones_are_told(tmp_path, capsys):
    grey = [save(tmp_path / f"{i}.png", Image.new("L", (4, 4))) for i in range(60)]
    colour = [save(tmp_path / f"c{i}.png", Image.new("RGB", (4, 4))) for i in range(4)]
    assert guess_channels(ImageFiles((*grey, *colour[:3]), 3), "photos") == 1
    said = capsys.readouterr().err
    assert said.startswith("photos: 3 of 63 images are in colour, the others in grey; all are read as grey (data.chan")
    assert guess_channels(ImageFiles((*grey, *colour), 3)) == 3 and capsys.readouterr().err == ""


def test_large_images_are_refused_until_they_are_allowed(tmp_path):
    large = save(tmp_path / "large.png", Image.new("L", (40, 30)))
    refusal = r"large.png: 40 x 30 = 1,200 pixels, too large; data.max_pixels \(predict: --max-pixels\) says how"
    with pytest.raises(DataError, match=refusal):
        decode_image(large, 1, reading=Reading(1199))
    assert decode_image(large, 1, reading=Reading(1200)).shape == (30, 40, 1)
    assert read_header(large, Reading(1199)) is None and read_header(large, Reading(1200)).grey
    assert image_sizes(ImageFiles((large,), 1, Reading(1199)), 1)[1][0][1].endswith("says how many are read")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(20_000, 15_000), (60_000, 60_000)])
def test_huge_images_are_refused_by_their_header(tmp_path, width, height, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT"]
    packed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    huge = tmp_path / "huge.png"
    huge.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    with pytest.raises(DataError, match=r"pixels, too large; data\.max_pixels"):
        decode_image(huge, 1)
    assert read_header(huge) is None
    assert read_header(huge, Reading(width * height)).grey


def test_channels_of_arrays_are_converted_as_pillow_does():
    colour = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    grey = with_channels(colour, 1)
    np.testing.assert_array_equal(grey[1, ..., 0], np.asarray(Image.fromarray(colour[1]).convert("L")))
    assert with_channels(grey, 3).shape == (3, 4, 5, 3)
    assert with_channels(colour, "auto") is colour


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 30, "subsampling": "4:4:4"},
        {"quality": 75, "subsampling": "4:2:2"},
        {"quality": 95, "subsampling": "4:2:0", "progressive": True},
        {"quality": 85, "optimize": True, "restart_marker_blocks": 3},
    ],
)
def test_jpegs_have_the_pixels_of_pillow(tmp_path, mode, channels, options):
    """Also those that torchvision decodes, which is loaded here."""
    assert sys.modules["torchvision"] is torchvision
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (17, 33), (64, 48), (101, 7)):
        coarse = rng.integers(0, 256, (-(-shape[0] // 4), -(-shape[1] // 4), 4), dtype=np.uint8)
        pixels = coarse.repeat(4, 0).repeat(4, 1)[: shape[0], : shape[1]]
        image = Image.fromarray({"RGB": pixels[..., :3], "L": pixels[..., 0], "CMYK": pixels}[mode], mode)
        path = save(tmp_path / "a.jpg", image, **options)
        expected = np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB"))
        np.testing.assert_array_equal(decode_image(path, channels), expected.reshape(*shape, channels))


@pytest.mark.parametrize("orientation", [1, 3, 6, 99])
def test_orientation_of_jpegs(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24)
    path = save(tmp_path / "a.jpg", Image.fromarray(pixels).convert("RGB"), exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(decode_image(path, 3), expected)


def test_damaged_jpegs_are_what_pillow_says(tmp_path):
    """Cut anywhere: refused, or the same pixels."""
    rng = np.random.default_rng(0)
    whole = save(tmp_path / "a.jpg", Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))).read_bytes()
    refused = 0
    for cut in [*range(0, len(whole), 37), *range(len(whole) - 4, len(whole))]:
        for data in (whole[:cut], whole[:cut] + b"\0\xff\xd9" + whole[cut + 3 :]):
            path = tmp_path / "b.jpg"
            path.write_bytes(data)
            try:
                expected = np.asarray(Image.open(path).convert("RGB"))
            except OSError:
                refused += 1
                with pytest.raises(DataError, match="cannot be read as an image"):
                    decode_image(path, 3)
            else:
                np.testing.assert_array_equal(decode_image(path, 3), expected)
    assert refused > 20


@pytest.mark.parametrize("name", ["a.heic", "a.HIF", "a.jpg"])
def test_heic_needs_a_package_whatever_its_ending(tmp_path, monkeypatch, name):
    """Phones' photos are often renamed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40)
    packed = PackedImages(np.fromfile(tmp_path / name, np.uint8), np.array([0]), np.array([64]), 3)
    with pytest.raises(
        DataError, match=rf"{name}: HEIC needs the package pillow-heif: pip install 'labelwise\[heif\]'"
    ):
        decode_image(tmp_path / name, 3)
    for source in (ImageFiles((tmp_path / name,), 3), packed):
        with pytest.raises(DataError, match="HEIC needs the package pillow-heif"):
            guess_channels(source)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_heic_is_read_upright(tmp_path, mode):
    import pillow_heif as heif

    image = Image.new(mode, (64, 32), "white")
    image.paste(0, (0, 0, 16, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    file = heif.from_pillow(image)
    file.save(tmp_path / "a.jpg", quality=-1, exif=exif.tobytes())
    pixels = decode_image(tmp_path / "a.jpg", 1)[..., 0].astype(int)
    assert pixels.shape == (64, 32)
    np.testing.assert_allclose(pixels[:16], 0, atol=3)
    np.testing.assert_allclose(pixels[16:], 255, atol=3)


def test_files_of_several_frames_are_told_once(tmp_path, capsys):
    """The first is read. A photo with a preview behind it (MPO) has one frame."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    options = {"save_all": True, "append_images": frames[1:]}
    names = ["a.gif", "a.png", "a.webp", "a.tif", "a.avif"]
    paths = [save(tmp_path / name, frames[0], **options) for name in names]
    plain = [save(tmp_path / "b.png", frames[0]), save(tmp_path / "b.jpg", frames[0], format="MPO", **options)]
    source = ImageFiles((*paths, *plain), 3)
    assert guess_channels(source, "photos") == 3 and guess_channels(source, "photos") == 3
    assert capsys.readouterr().err == "photos: 5 of 7 images have several frames or pages; the first one is read\n"
    for row in range(len(source)):
        np.testing.assert_allclose(source.read(row)[4, 4].astype(int), (255, 0, 0), atol=8, err_msg=str(paths))
