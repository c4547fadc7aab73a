"""Pascal VOC in miniature: lists of every category, objects of every image, and files that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data.readers.voc import CATEGORIES
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, UNCERTAIN

SETS = {"train": ["000012", "000017"], "val": ["000005"], "test": ["000001", "000002"]}
# (name, difficult) of the objects of every image
OBJECTS = {
    "000012": [("car", 0), ("person", 1)],
    "000017": [("person", 1), ("horse", 0), ("person", 0)],
    "000005": [("chair", 0), ("chair", 1), ("bottle", 1), ("bottle", 1)],
    "000001": [("tvmonitor", None)],
    "000002": [],
}
IDS = [image for images in SETS.values() for image in images]
POSITIVE = {("000012", "car"), ("000017", "person"), ("000017", "horse"), ("000005", "chair"), ("000001", "tvmonitor")}
DIFFICULT = {("000012", "person"), ("000005", "bottle")}


def annotation(image: str, folder: str) -> str:
    """As the development kit writes it; a part of a person has a name of its own."""
    objects = "".join(
        f"<object><name>{name}</name><pose>Left</pose><truncated>1</truncated>"
        + ("" if difficult is None else f"<difficult>{difficult}</difficult>")
        + "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
        + ("<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>" if name == "person" else "")
        + "</object>\n"
        for name, difficult in OBJECTS[image]
    )
    size = "<size><width>6</width><height>6</height><depth>3</depth></size>"
    return f"<annotation><folder>{folder}</folder><filename>{image}.jpg</filename>{size}\n{objects}</annotation>\n"


@pytest.fixture
def voc(tmp_path: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Write one year below VOCdevkit; returns the folder of the year."""

    def write(lists: bool = True, year: int = 2007) -> Path:
        root = tmp_path / "VOCdevkit" / f"VOC{year}"
        for name in ("ImageSets/Main", "ImageSets/Segmentation", "Annotations"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for image in IDS:
            (root / "Annotations" / f"{image}.xml").write_text(annotation(image, f"VOC{year}"))
            draw(root / "JPEGImages" / f"{image}.jpg")
        for name, images in (SETS | {"trainval": sorted(SETS["train"] + SETS["val"])}).items():
            (root / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{image}\n" for image in images))
            for category in CATEGORIES if lists else ():
                lines = [f"{image} {code(image, category):>2}\n" for image in images]
                (root / "ImageSets" / "Main" / f"{category}_{name}.txt").write_text("".join(lines))
        return root

    return write


def code(image: str, category: str) -> int:
    return 1 if (image, category) in POSITIVE else 0 if (image, category) in DIFFICULT else -1


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("place", [".", "..", "../.."])
@pytest.mark.parametrize("form", ["auto", "voc"])
def test_lists_and_objects_say_the_same(voc, read, lists, place, form):
    samples = read((voc(lists) / place).resolve(), format=form)
    assert samples.name == "VOC2007"
    assert samples.classes == samples.table.categories == CATEGORIES and len(set(CATEGORIES)) == 20
    assert samples.ids.tolist() == IDS
    assert samples.part.tolist() == ["train", "train", "val", "test", "test"]
    for row, image in enumerate(IDS):
        for column, category in enumerate(CATEGORIES):
            kind = UNCERTAIN if (image, category) in DIFFICULT else GIVEN
            assert samples.table.source[row, column] == kind
            if kind == GIVEN:
                assert samples.table.values[row, column] == ((image, category) in POSITIVE)
    assert (samples.label == -1).all() and samples.groups is None
    assert samples.source.paths[0].name == "000012.jpg" and samples.source.read(4).shape == (6, 6, 3)


def test_val_is_selected_on_and_test_tested(voc, load):
    dataset = load(voc(), partial=True)
    assert dataset.sizes() == {"fit": 2, "select": 1, "test": 2}
    assert dataset.ids[dataset.split == "select"].tolist() == ["000005"]


def test_a_year_without_test_or_parts_of_trainval(voc, read):
    root = voc()
    sets = root / "ImageSets" / "Main"
    (sets / "test.txt").unlink()
    assert read(root).part.tolist() == ["train", "train", "val"]
    (sets / "train.txt").unlink()
    samples = read(root)
    assert samples.part.tolist() == ["train"] * 3 and samples.ids.tolist() == ["000005", "000012", "000017"]
    np.testing.assert_array_equal(samples.table.known_positive.nonzero()[0], [6, 8, 12, 14])


def test_images_elsewhere_or_nowhere(voc, read, load, tmp_path):
    root = voc()
    (root / "JPEGImages" / "000017.jpg").unlink()
    with pytest.raises(DataError, match=r"000017\.jpg is listed but not there"):
        read(root)
    dataset = load(root, partial=True, unreadable="skip")
    assert "000017" not in dataset.ids and dataset.unreadable[0].startswith("000017: ")
    (root / "JPEGImages").rename(tmp_path / "images")
    with pytest.raises(DataError, match=r"000012\.jpg is listed but not there \(and 4 more\)"):
        read(root)
    with pytest.raises(DataError, match=r"images/000017\.jpg is listed but not there;"):
        read(root, root=str(tmp_path / "images"))


def test_no_year_or_two(voc, read, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in ("empty", "nowhere"):
        with pytest.raises(DataError, match=f"{source}: no ImageSets/Main in it"):
            read(tmp_path / source, format="voc")
    voc()
    voc(year=2012)
    with pytest.raises(DataError, match=r"holds VOC2007 and VOC2012; give one of them as data\.source"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("car_train.txt", None, r"car_train\.txt: no such file, though other categories have theirs"),
        ("car_train.txt", "000012 1\n000017\n", "line 2: expected an image and 1, -1 or 0, found '000017'"),
        ("car_train.txt", "000012 2\n000017 1\n", "line 1: expected an image and 1, -1 or 0, found '000012 2'"),
        ("car_train.txt", "000012 1\n", "image '000017' of the image set is missing"),
        ("car_train.txt", "", "image '000012' of the image set is missing"),
        ("car_train.txt", "000012 1\n000099 1\n", "line 2: image '000099' is not in the image set"),
        ("car_train.txt", "000012 1\n000012 -1\n", "line 2: image '000012' is listed twice"),
        ("val.txt", "000017\n", "image '000017' is listed twice"),
        ("val.txt", " \n", r"val\.txt: empty"),
        ("train.txt", "\n", r"train\.txt: empty"),
    ],
)
def test_bad_lists(voc, read, file, content, message):
    root = voc()
    path = root / "ImageSets" / "Main" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read(root)
    assert "ImageSets" in str(caught.value) and "\n" not in str(caught.value)


def test_no_image_set_to_learn_from(voc, read):
    root = voc()
    for name in ("train", "trainval"):
        (root / "ImageSets" / "Main" / f"{name}.txt").unlink()
    with pytest.raises(DataError, match=r"neither train\.txt nor trainval\.txt"):
        read(root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "",
            None,
            "no such file, and ImageSets/Main has no list of a category for val; remove image sets without annot",
        ),
        ("</annotation>", "", "truncated or not XML"),
        ("<name>chair</name>", "", "an object has no name"),
        ("<difficult>0<", "<difficult>yes<", "difficult of object 'chair' is 'yes', expected 0 or 1"),
    ],
)
def test_bad_objects(voc, read, old, new, message):
    root = voc(lists=False)
    path = root / "Annotations" / "000005.xml"
    path.unlink() if new is None else path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=rf"000005\.xml: {message}"):
        read(root)


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize(("told", "names"), [(False, {}), (True, {"horse": "pony"})])
def test_categories_of_one_s_own(voc, read, capsys, lists, told, names):
    """They are those that are named; among the challenge's one may be misspelled, which is told."""
    root = voc(lists)
    own = names or {name: name.upper() for name in CATEGORIES}
    for path in (root / "Annotations").iterdir():
        text = path.read_text()
        for old, new in own.items():
            text = text.replace(f"<name>{old}</name>", f"<name>{new}</name>")
        path.write_text(text)
    for old, new in own.items():
        for path in (root / "ImageSets" / "Main").glob(f"{old}_*.txt"):
            path.rename(path.with_name(path.name.replace(old, new, 1)))
    samples = read(root)
    known = CATEGORIES if lists else ("bottle", "car", "chair", "horse", "person", "tvmonitor")
    assert samples.classes == tuple(sorted(own.get(name, name) for name in known))
    for image, row in zip(samples.ids.tolist(), samples.table.values, strict=True):
        positive = {own.get(name, name) for there, name in POSITIVE if there == image}
        assert {name for name, value in zip(samples.classes, row.tolist(), strict=True) if value == 1} == positive
    assert ("not the 20 of the challenge" in capsys.readouterr().err) == told


def test_annotations_without_image_sets_and_other_kinds_of_images(voc, read, draw):
    root = voc(lists=False)
    for path in (*(root / "ImageSets" / "Main").iterdir(), *(root / "JPEGImages").iterdir()):
        path.unlink()
    (root / "ImageSets" / "Main").rmdir()
    for image in IDS:
        draw(root / "JPEGImages" / f"{image}.png")
    samples = read(root)
    assert samples.ids.tolist() == sorted(IDS) and set(samples.part.tolist()) == {""}
    assert samples.classes == CATEGORIES and samples.source.read(0).shape == (6, 6, 3)
