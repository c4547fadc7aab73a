"""Every row of the tables of docs/how-to/data-in.md: its file is made and read, and pixels or labels are compared."""

from __future__ import annotations

import gzip
import json
import re
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers.data import data_config
from labelwise.config import load_recipe
from labelwise.data.dataset import Samples
from labelwise.data.decode import AS_STORED, Reading, decode_image
from labelwise.data.notes import assumptions, tell
from labelwise.data.readers import load_dataset, read_samples
from labelwise.data.readers.chexpert import OBSERVATIONS
from labelwise.data.readers.unlabelled import read_unlabelled
from labelwise.errors import LabelwiseError

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "data-in.md"
CELLS = re.compile(r"^\| (.*) \| `(.*)` \| (.*) \|$", re.MULTILINE)
REFUSED = re.compile(r"refused?s?: `([^`]*)`")
NAMES = [f"img/{i}.png" for i in range(4)]


@dataclass(frozen=True)
class Row:
    """A row of the page, the folder where its file is made, and what is printed on stderr."""

    what: str
    file: str
    becomes: str
    folder: Path = Path()
    printed: Callable[[], str] = str

    @property
    def path(self) -> Path:
        return self.folder / self.file

    def draw(self, *names: str, mode: str = "RGB") -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (4, 4)).save(self.folder / name)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def table(self, text: str | bytes, labels: list[int] | None = None, **options: Any) -> Samples:
        """Four images and a table of them, whose classes are ``labels``."""
        self.draw(*NAMES)
        samples = self.source(self.write(self.file, text), **options)
        assert samples.ids.tolist() == NAMES and samples.source.read(3).shape == (4, 4, 3)
        if labels is not None:
            assert samples.label.tolist() == labels and samples.classes == ("cat", "dog")
        return samples

    def source(self, path: Path, **options: Any) -> Samples:
        """What is read; what the page says is noted, told or refused is."""
        with assumptions() as notes:
            samples = read_samples(data_config({"source": str(path), **options}))
        odd = [
            note
            for note in notes
            if not re.search(r"its format is|columns: |images are read in|labels are those", note)
        ]
        assert bool(odd) == ("noted" in self.becomes), notes
        assert bool(self.printed()) == ("told" in self.becomes)
        return samples

    def refused(self, read: Callable[[], Any]) -> None:
        words = REFUSED.search(self.becomes)
        assert words is not None
        with pytest.raises(LabelwiseError, match=re.escape(words[1])) as caught:
            read()
        assert "\n" not in str(caught.value)


CHECKS: dict[str, Callable[[Row], None]] = {}


def check(what: str) -> Callable[[Callable[[Row], None]], Callable[[Row], None]]:
    def add(function: Callable[[Row], None]) -> Callable[[Row], None]:
        CHECKS[what] = function
        return function

    return add


def rows() -> list[Row]:
    return [Row(*found) for found in CELLS.findall(PAGE.read_text())]


def test_every_row_has_its_check() -> None:
    assert [row.what for row in rows()] == list(CHECKS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.what)
def test_the_row_is_true(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell.cache_clear()
    CHECKS[row.what](Row(row.what, row.file, row.becomes, tmp_path, lambda: capsys.readouterr().err))


# Images

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


# Tables

LABELS = ["cat", "dog", "dog", "cat"]
CLASSES = [0, 1, 1, 0]


def written(labels: list[str] = LABELS, separator: str = ",", header: str = "path,label", end: str = "\n") -> str:
    lines = [
        header.replace(",", separator),
        *(f"{name}{separator}{label}" for name, label in zip(NAMES, labels, strict=True)),
    ]
    return "".join(line + end for line in lines)


@check("UTF-8 with a byte order mark")
def _(row: Row) -> None:
    row.table(written().encode("utf-8-sig"), CLASSES)


@check("UTF-16 with a byte order mark")
def _(row: Row) -> None:
    row.table(written().encode("utf-16"), CLASSES)


@check("other encodings")
def _(row: Row) -> None:
    row.refused(lambda: row.table(written(["caf\u00e9", *LABELS[1:]]).encode("latin-1")))


@check("semicolons")
def _(row: Row) -> None:
    row.table(written(separator=";"), CLASSES)


@check("tabs")
def _(row: Row) -> None:
    row.table(written(separator="\t"), CLASSES)


@check("a first line `sep=;`")
def _(row: Row) -> None:
    row.table("sep=;\r\n" + written(separator=";", end="\r\n"), CLASSES)


@check("packed by gzip")
def _(row: Row) -> None:
    row.table(gzip.compress(written().encode()), CLASSES)


@check("a JSON object a line")
def _(row: Row) -> None:
    lines = [json.dumps({"file_name": name, "label": label}) for name, label in zip(NAMES, LABELS, strict=True)]
    row.table("\n".join(lines), CLASSES, image_column="file_name")


@check("newlines of Windows")
def _(row: Row) -> None:
    row.table(written(end="\r\n"), CLASSES)


@check("newlines within quotes")
def _(row: Row) -> None:
    row.table(
        written([f'{label},"two\nlines"' for label in LABELS], header="path,label,split").replace(
            '"two\nlines"', '"\ntrain\n"'
        ),
        CLASSES,
    )


@check("blanks around the names of columns")
def _(row: Row) -> None:
    row.table(written(header=" path , label"), CLASSES)


@check("a comma at the end of every row")
def _(row: Row) -> None:
    row.refused(lambda: row.table(written([f"{label}," for label in LABELS])))


@check("no names of columns")
def _(row: Row) -> None:
    row.refused(lambda: row.table(written().partition("\n")[2]))


@check("columns with other names")
def _(row: Row) -> None:
    row.refused(lambda: row.table(written(header="filename,class")))
    row.table(written(header="filename,class"), CLASSES, image_column="filename", label_column="class")


@check("decimal commas in soft labels")
def _(row: Row) -> None:
    samples = row.table(written(['"0,5"', '"1,0"', "0", ""], header="path,cat"), label_columns=["cat"])
    np.testing.assert_array_equal(samples.table.values[:, 0], [0.5, 1, 0, np.nan])


@check("a row that is there twice")
def _(row: Row) -> None:
    row.table(written() + f"{NAMES[1]},{LABELS[1]}\n", CLASSES)


@check("one image with two labels")
def _(row: Row) -> None:
    row.refused(lambda: row.table(written() + f"{NAMES[1]},{LABELS[0]}\n"))


@check("blanks at the ends of classes")
def _(row: Row) -> None:
    row.table(written(["cat ", *LABELS[1:]]), CLASSES)


@check("classes that differ in capital letters")
def _(row: Row) -> None:
    assert row.table(written(["Cat", *LABELS[1:]])).classes == ("Cat", "cat", "dog")


@check("numbers for classes")
def _(row: Row) -> None:
    samples = row.table(written(["10", "9", "9", "10"]))
    assert samples.classes == ("9", "10") and samples.label.tolist() == [1, 0, 0, 1]


@check("lists as Python writes them")
def _(row: Row) -> None:
    samples = row.table(written(["\"['nodule', 'scoliosis']\"", "[]", "['nodule']", ""]))
    assert samples.classes == ("nodule", "scoliosis")
    np.testing.assert_array_equal(samples.table.values, [[1, 1], [0, 0], [1, 0], [np.nan, np.nan]])


@check("lists with a separator")
def _(row: Row) -> None:
    row.draw(*NAMES)
    for separator in (",", " ", "\t", "#", "|"):
        row.write(row.file, written([f'"a{separator}b"', "", '"b"', '"a"']))
        options = [f"data.source={json.dumps(str(row.path))}", f"data.label_separator={separator}"]
        samples = read_samples(load_recipe(None, options).data)
        np.testing.assert_array_equal(samples.table.values, [[1, 1], [0, 0], [0, 1], [1, 0]])


@check("millions of rows")
def _(row: Row) -> None:
    """A few thousand, in small parts; the benchmark has a million."""
    row.draw(*NAMES)
    lines = [f"{i}.jpg,{i % 2}" for i in range(3000)]
    row.write(row.file, "\n".join(["path,a", *lines]))
    options = {"source": str(row.path), "label_columns": ["a"], "unreadable": "skip"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labelwise.data.tables._CHUNK", 700)
        samples = read_samples(data_config(options))
    np.testing.assert_array_equal(samples.table.values[:, 0], np.arange(3000) % 2)


# Where images lie


def _found(row: Row, names: list[str], files: list[str], **options: Any) -> Samples:
    row.draw(*files)
    path = row.write("t.csv", "path,label\n" + "".join(f"{name},class {i}\n" for i, name in enumerate(names)))
    samples = row.source(path, **options)
    assert row.file in names
    assert [path.relative_to(row.folder).as_posix() for path in samples.source.paths] == files
    return samples


PATHS = ["img/0.png", "img/1.png"]


@check("no ending")
def _(row: Row) -> None:
    _found(row, ["img/0", "img/1"], PATHS)


@check("an ending in other letters")
def _(row: Row) -> None:
    _found(row, ["img/0.PNG", "img/1.Png"], PATHS)


@check("backslashes")
def _(row: Row) -> None:
    _found(row, ["img\\0.png", "img\\1.png"], PATHS)


@check("a folder that the root is already in")
def _(row: Row) -> None:
    _found(row, ["set/img/0.png", "set/img/1.png"], PATHS)


@check("paths of another machine")
def _(row: Row) -> None:
    _found(row, ["/home/me/img/0.png", "/home/me/img/1.png"], PATHS)


@check("a folder that is missing before all paths")
def _(row: Row) -> None:
    _found(row, ["a/0.png", "b/1.png"], ["images/a/0.png", "images/b/1.png"])


@check("names of images in several folders")
def _(row: Row) -> None:
    _found(row, ["0", "1"], ["part_1/0.png", "part_2/1.png"])


@check("two images that could be meant")
def _(row: Row) -> None:
    row.refused(lambda: _found(row, ["0"], ["a/0.png", "b/0.png"]))
    _found(row, ["0"], ["a/0.png"], root=str(row.folder / "a"))


@check("an image that is not there")
def _(row: Row) -> None:
    row.refused(lambda: _found(row, ["img/0.png", "img/9.png"], PATHS))


# Layouts


@check("a class that only `val` has")
def _(row: Row) -> None:
    row.draw("train/cat/0.png", "train/cat/1.png", "val/cat/2.png", row.file)
    options = {"source": str(row.folder), "select_share": 0.5}
    dataset = load_dataset(data_config(options), partial=True)
    assert dataset.classes == ("bird", "cat") and dataset.label[dataset.rows("test")].tolist() == [0, 1]
    row.refused(lambda: load_dataset(data_config(options)))


@check("an empty class folder of `val`")
def _(row: Row) -> None:
    row.draw("train/cat/0.png", "train/dog/0.png", "val/dog/1.png")
    row.path.mkdir()
    assert row.source(row.folder).label.tolist() == [0, 1, 1]


@check("an empty class folder of `train`")
def _(row: Row) -> None:
    row.draw("train/dog/0.png", "val/dog/1.png")
    row.path.mkdir()
    row.refused(lambda: row.source(row.folder))


@check("images of `val` in no class folder")
def _(row: Row) -> None:
    row.draw("train/cat/0.png", "train/dog/1.png", row.file)
    assert row.source(row.folder).part.tolist() == ["train"] * 2


@check("a folder too high")
def _(row: Row) -> None:
    row.draw(f"{row.file}/cat/0.png", f"{row.file}/dog/1.png")
    assert row.source(row.folder).classes == (row.file,)
    assert read_samples(data_config({"source": str(row.path)})).classes == ("cat", "dog")


@check("folders of images beside a table")
def _(row: Row) -> None:
    row.draw("train_images/0.png", "train_images/1.png", "test_images/2.png")
    row.write(row.file, "image_id,label\n0,cat\n1,dog\n")
    row.refused(lambda: row.source(row.folder))
    samples = read_samples(data_config({"source": str(row.path), "image_column": "image_id"}))
    assert samples.label.tolist() == [0, 1] and samples.source.read(1).shape == (4, 4, 3)


@check("columns of 0 and 1, as annotation tools export them")
def _(row: Row) -> None:
    row.draw("train/0.jpg", "train/1.jpg")
    path = row.write(row.file, "filename, cat, dog\n0.jpg, 0, 1\n1.jpg, 1, 1\n")
    samples = row.source(path, image_column="filename", label_columns=["*"])
    assert samples.classes == ("cat", "dog")
    np.testing.assert_array_equal(samples.table.values, [[0, 1], [1, 1]])


@check("boxes for YOLO")
def _(row: Row) -> None:
    row.draw("train/images/0.jpg")
    row.write(f"{row.file}/0.txt", "0 0.5 0.5 0.1 0.1\n")
    row.refused(lambda: row.source(row.folder))


@check("patches of BigEarthNet")
def _(row: Row) -> None:
    row.write(row.file, b"")
    row.refused(lambda: row.source(row.folder))


def _chexpert(prefix: str) -> str:
    lines = [f"{prefix}/train/patient0000{i}/study1/view1_frontal.jpg,Frontal,{i % 2}.0,-1.0" for i in range(4)]
    return "\n".join([f"Path,Frontal/Lateral,{','.join(OBSERVATIONS)}", *(line + "," * 12 for line in lines)])


def _is_chexpert(samples: Samples) -> None:
    np.testing.assert_array_equal(samples.table.values[:, 0], [0, 1, 0, 1])
    assert samples.groups.tolist() == [f"patient0000{i}" for i in range(4)] and samples.source.read(3).shape == (
        4,
        4,
        1,
    )


@check("CheXpert, small")
def _(row: Row) -> None:
    row.draw(*(f"{row.file}/train/patient0000{i}/study1/view1_frontal.jpg" for i in range(4)), mode="L")
    row.write(f"{row.file}/train.csv", _chexpert(row.file))
    _is_chexpert(row.source(row.path))
    _is_chexpert(row.source(row.path / "train.csv"))


@check("CheXpert, full size")
def _(row: Row) -> None:
    for i in range(4):
        batch = f"CheXpert-v1.0 batch {2 + i // 2} (train {1 + i // 2})"
        row.draw(f"{batch}/patient0000{i}/study1/view1_frontal.jpg", mode="L")
    table = row.write(f"{row.file}/train.csv", _chexpert("CheXpert-v1.0"))
    _is_chexpert(row.source(row.folder))
    _is_chexpert(row.source(table))


@check("batches without their table")
def _(row: Row) -> None:
    row.draw(f"{row.file}/patient00000/study1/view1_frontal.jpg", mode="L")
    row.refused(lambda: row.source(row.folder))
    row.refused(lambda: row.source(row.path))


@check("MIMIC-CXR-JPG")
def _(row: Row) -> None:
    studies = [("10000032", "50414267", "train"), ("19999987", "55368167", "test")]
    texts = {
        "chexpert": f"subject_id,study_id,{','.join(OBSERVATIONS)}\n",
        "metadata": "dicom_id,subject_id,study_id\n",
    }
    texts["split"] = "dicom_id,study_id,subject_id,split\n"
    for i, (subject, study, part) in enumerate(studies):
        texts["chexpert"] += f"{subject},{study},{i}.0,-1.0{',' * 12}\n"
        texts["metadata"] += f"{i}a,{subject},{study}\n"
        texts["split"] += f"{i}a,{study},{subject},{part}\n"
        row.draw(f"files/p{subject[:2]}/p{subject}/s{study}/{i}a.jpg", mode="L")
    for name, text in texts.items():
        row.write(row.file.replace("chexpert", name), gzip.compress(text.encode()))
    samples = row.source(row.path)
    assert samples.groups.tolist() == ["10000032", "19999987"] and samples.part.tolist() == ["train", "test"]
    np.testing.assert_array_equal(samples.table.values[:, 0], [0, 1])


def _voc(row: Row) -> None:
    row.draw("JPEGImages/0.jpg", "JPEGImages/1.jpg")
    for i, name in enumerate(("helmet", "vest")):
        row.write(f"Annotations/{i}.xml", f"<annotation><object><name>{name}</name></object></annotation>")


@check("VOC with categories of one's own")
def _(row: Row) -> None:
    _voc(row)
    row.write(f"{row.file}/train.txt", "0\n1\n")
    samples = row.source(row.folder)
    assert samples.classes == ("helmet", "vest") and samples.part.tolist() == ["train"] * 2
    np.testing.assert_array_equal(samples.table.values, np.eye(2))


@check("VOC without image sets")
def _(row: Row) -> None:
    _voc(row)
    samples = row.source(row.folder)
    assert samples.ids.tolist() == ["0", "1"]
    np.testing.assert_array_equal(samples.table.values, np.eye(2))


def _coco(row: Row, folder: str, write: Callable[[int], Any] = int) -> None:
    row.draw(f"{folder}/0.jpg", f"{folder}/1.jpg")
    content = {
        "images": [{"id": write(i), "file_name": f"{i}.jpg"} for i in range(2)],
        "annotations": [{"image_id": write(i), "category_id": write(7 + i)} for i in range(2)],
        "categories": [{"id": write(7 + i), "name": name} for i, name in enumerate("ba")],
    }
    row.write(row.file, json.dumps(content))
    samples = row.source(row.folder)
    assert samples.classes == ("b", "a") and samples.source.read(1).shape == (4, 4, 3)
    np.testing.assert_array_equal(samples.table.values, np.eye(2))


@check("COCO with ids that are text")
def _(row: Row) -> None:
    _coco(row, "train2017", lambda number: f"id-{number}")


@check("COCO without a year")
def _(row: Row) -> None:
    _coco(row, "train")


@check("COCO as annotation tools export it")
def _(row: Row) -> None:
    _coco(row, "train")


@check("JSON of iNaturalist")
def _(row: Row) -> None:
    names = ["train_val2019/Plants/1/0.jpg", "train_val2019/Birds/2/1.jpg"]
    row.draw(*names)
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1 - i} for i in range(2)],
        "categories": [{"id": i, "name": f"species {i}", "supercategory": "Plants"} for i in range(2)],
    }
    samples = row.source(row.write(row.file, json.dumps(content)))
    assert samples.ids.tolist() == names and samples.source.read(1).shape == (4, 4, 3)
    np.testing.assert_array_equal(samples.table.values, [[0, 1], [1, 0]])
