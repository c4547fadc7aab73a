"""DICOM images become the uint8 pixels that a viewer would show; pydicom's own functions are the oracle."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from labelwise.data.dataset import ImageFiles, PackedImages
from labelwise.data.decode import decode_image, read_header
from labelwise.data.memory import guess_channels, image_sizes
from labelwise.errors import DataError

RAMP = np.linspace(0, 4095, 30).astype(np.uint16).reshape(5, 6)


def dicom(pixels: np.ndarray, kind: str = "MONOCHROME2", bits: int = 12, **elements: Any) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = kind
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.itemsize, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def save(path: Path, data: pydicom.Dataset) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


def lut(values: np.ndarray, first: int, bits: int) -> pydicom.Sequence:
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(values) % 2**16, first, bits]
    item.LUTData = values.astype(np.uint16).tobytes()
    item["LUTData"].VR = "OW"
    return pydicom.Sequence([item])


def expected(share: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(share * 255), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_a_window_the_bits_stored_are_the_range(tmp_path, bits, channels):
    """Not the least and largest pixel: two images of one detector stay comparable."""
    values = np.linspace(0, 2**bits // 2, 20).astype(np.uint8 if bits == 8 else np.uint16).reshape(4, 5)
    pixels = decode_image(save(tmp_path / "a.dcm", dicom(values, bits=bits)), channels)
    assert pixels.dtype == np.uint8 and pixels.shape == (4, 5, channels)
    for channel in range(channels):
        np.testing.assert_array_equal(pixels[..., channel], expected(values / (2**bits - 1)))
    if bits == 8:
        np.testing.assert_array_equal(pixels[..., 0], values)


def test_monochrome1_is_inverted(tmp_path):
    dark = decode_image(save(tmp_path / "a.dcm", dicom(RAMP, "MONOCHROME1")), 1)
    np.testing.assert_array_equal(dark[..., 0], expected(1 - RAMP / 4095))
    window = {"WindowCenter": "2000", "WindowWidth": "1000"}
    one = decode_image(save(tmp_path / "b.dcm", dicom(RAMP, "MONOCHROME1", **window)), 1)
    two = decode_image(save(tmp_path / "c.dcm", dicom(RAMP, "MONOCHROME2", **window)), 1)
    assert one.min() == 0 and one.max() == 255
    assert np.abs(one.astype(int) + two - 255).max() <= 1


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_windows_are_those_of_pydicom(tmp_path, function, rescale, dtype):
    values = RAMP.astype(dtype) - (2048 if dtype is np.int16 else 0)
    elements: dict[str, Any] = {"WindowCenter": ["300", "9"], "WindowWidth": ["1500", "9"]}
    if function is not None:
        elements["VOILUTFunction"] = function
    if rescale:
        elements |= {"RescaleSlope": "0.5", "RescaleIntercept": "-100"}
    data = dicom(values, **elements)
    shown = decode_image(save(tmp_path / "a.dcm", data), 1)[..., 0]
    stored = pydicom.dcmread(tmp_path / "a.dcm")
    modality = pydicom.pixels.apply_modality_lut(stored.pixel_array, stored)
    windowed = pydicom.pixels.apply_windowing(modality, stored)
    low = -2048 if dtype is np.int16 else 0
    ends = np.array([low, low + 4095]) * (0.5 if rescale else 1) - (100 if rescale else 0)
    np.testing.assert_allclose(shown, 255 * (windowed - ends[0]) / np.ptp(ends), atol=0.51)
    assert len(np.unique(shown)) > 4


def test_a_window_of_one_is_a_threshold(tmp_path):
    data = dicom(RAMP, WindowCenter="1000", WindowWidth="1")
    shown = decode_image(save(tmp_path / "a.dcm", data), 1)[..., 0]
    np.testing.assert_array_equal(shown, np.where(RAMP > 999.5, 255, 0))


def test_signed_and_negative_slope(tmp_path):
    values = np.array([[-2048, 0, 2047]], dtype=np.int16)
    np.testing.assert_array_equal(decode_image(save(tmp_path / "a.dcm", dicom(values)), 1)[0, :, 0], [0, 128, 255])
    flipped = dicom(values, RescaleSlope="-1", RescaleIntercept="5")
    np.testing.assert_array_equal(decode_image(save(tmp_path / "b.dcm", flipped), 1)[0, :, 0], [255, 127, 0])


def test_a_voi_lut_goes_before_a_window(tmp_path):
    table = (np.sqrt(np.linspace(0, 1, 3000)) * 1023).astype(int)
    data = dicom(RAMP, VOILUTSequence=lut(table, 500, 10), WindowCenter="1", WindowWidth="2")
    shown = decode_image(save(tmp_path / "a.dcm", data), 1)[..., 0]
    stored = pydicom.dcmread(tmp_path / "a.dcm")
    reference = pydicom.pixels.apply_voi(stored.pixel_array, stored)
    np.testing.assert_array_equal(shown, expected(reference / 1023))


def test_an_eight_bit_lut_of_many_entries(tmp_path):
    table = np.arange(4096) // 16
    packed = dicom(RAMP, VOILUTSequence=lut(table, 0, 8))
    packed.VOILUTSequence[0].LUTData = table.astype(np.uint8).tobytes()  # one byte an entry
    for name, data in {"words": dicom(RAMP, VOILUTSequence=lut(table, 0, 8)), "bytes": packed}.items():
        shown = decode_image(save(tmp_path / f"{name}.dcm", data), 1)[..., 0]
        np.testing.assert_array_equal(shown, RAMP // 16)


def test_a_modality_lut(tmp_path):
    table = np.arange(4096)[::-1] * 16
    data = dicom(RAMP, ModalityLUTSequence=lut(table, 0, 16))
    shown = decode_image(save(tmp_path / "a.dcm", data), 1)[..., 0]
    stored = pydicom.dcmread(tmp_path / "a.dcm")
    reference = pydicom.pixels.apply_modality_lut(stored.pixel_array, stored)
    np.testing.assert_array_equal(shown, expected(reference / 65535))


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colour(tmp_path, kind):
    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    stored = rgb if kind == "RGB" else np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    path = save(tmp_path / "a.dcm", dicom(stored, kind, bits=8))
    np.testing.assert_allclose(decode_image(path, 3).astype(int), rgb, atol=3)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    np.testing.assert_allclose(decode_image(path, 1)[..., 0].astype(int), grey, atol=3)


def test_a_palette(tmp_path):
    data = dicom(np.array([[0, 1, 2, 3]], dtype=np.uint8), "PALETTE COLOR", bits=8)
    for name, values in {"Red": [0, 255, 0, 9], "Green": [0, 0, 255, 9], "Blue": [0, 0, 0, 200]}.items():
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(data, f"{name}PaletteColorLookupTableData", np.array(values, dtype=np.uint8).tobytes())
    shown = decode_image(save(tmp_path / "a.dcm", data), 3)[0]
    assert shown.tolist() == [[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 9, 200]]


def test_jpeg_inside_dicom(tmp_path):
    """As the radiographs of several competitions are stored; Pillow decodes them for pydicom."""
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95)
    data = dicom(smooth, bits=8)
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    data.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    data["PixelData"].VR = "OB"
    path = save(tmp_path / "a.DICOM", data)
    np.testing.assert_allclose(decode_image(path, 1)[..., 0].astype(int), smooth, atol=4)


def test_channels_and_packed_images(tmp_path):
    grey = save(tmp_path / "g.dcm", dicom(RAMP))
    colour = save(tmp_path / "c.dcm", dicom(np.zeros((2, 2, 3), np.uint8), "RGB", bits=8))
    assert read_header(grey).grey and not read_header(colour).grey
    assert read_header(tmp_path / "none.dcm") is None
    assert guess_channels(ImageFiles((grey, grey), 3)) == 1
    assert guess_channels(ImageFiles((grey, colour), 3)) == 3
    blob = np.frombuffer(grey.read_bytes(), np.uint8)
    packed = PackedImages(blob, np.array([0]), np.array([len(blob)]), 1)
    assert guess_channels(packed) == 1
    np.testing.assert_array_equal(packed.read(0), decode_image(grey, 1))


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"NumberOfFrames": 2}, "2 frames, only single images are read"),
        ({"BitsStored": 24}, "24 bits a pixel"),
        ({"WindowCenter": "3", "WindowWidth": "0"}, "window is 0 wide"),
        ({"WindowCenter": "3", "WindowWidth": "5", "VOILUTFunction": "CUBIC"}, "function CUBIC is unknown"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "rescale slope is 0"),
        ({"PixelData": b"\0\0"}, r"a\.dcm: cannot be read as a DICOM image"),
        ({"Rows": None}, "cannot be read as a DICOM image"),
    ],
)
def test_what_cannot_be_shown(tmp_path, elements, message):
    with pytest.raises(DataError, match=message) as caught:
        decode_image(save(tmp_path / "a.dcm", dicom(RAMP, **elements)), 1)
    assert "\n" not in str(caught.value)


def test_missing_truncated_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match=r"none\.dcm: no such image"):
        decode_image(tmp_path / "none.dcm", 1)
    (tmp_path / "text.dcm").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.dcm: .*its content is not DICOM"):
        decode_image(tmp_path / "text.dcm", 1)
    whole = save(tmp_path / "a.dcm", dicom(RAMP)).read_bytes()
    (tmp_path / "half.dcm").write_bytes(whole[:-20])
    (tmp_path / "head.dcm").write_bytes(whole[:200])
    paths = tuple(tmp_path / f"{name}.dcm" for name in ("a", "half", "head"))
    _, unreadable = image_sizes(ImageFiles(paths, 1), 1)
    assert [row for row, _ in unreadable] == [1, 2]


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.dcm", dicom(RAMP))
    png = tmp_path / "b.png"
    Image.fromarray(RAMP.astype(np.uint8)).save(png)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for look in (lambda: decode_image(path, 1), lambda: read_header(path)):
        with pytest.raises(DataError, match=r"a\.dcm: DICOM needs .*pip install 'labelwise\[dicom\]'"):
            look()
    assert decode_image(png, 1).shape == (5, 6, 1)
