"""Open Images in miniature: verified labels of every version, contradictions, the five groups, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelwise.data.readers import open_images
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, UNCERTAIN, UNKNOWN

HEADER = "ImageID,Source,LabelName,Confidence\n"
CLASSES = ["/m/0c9ph5", "/m/014j1m", "/m/01599", "/m/03hgsf0", "/m/0jg57", "/m/0k0pj"]
NAMES = ("Flower", "Apple", "Beer", "Lemon, lime and bitters", "Bat (/m/0jg57)", "Bat (/m/0k0pj)")
DESCRIPTIONS = (
    "/m/0c9ph5,Flower\n/m/014j1m,Apple\n/m/01599,Beer\n/m/02wvth,\"Fiat 500 \"\"topolino\"\"\"\n"
    '/m/03hgsf0,"Lemon, lime and bitters"\n/m/0jg57,Bat\n/m/0k0pj,Bat\n'
)  # fmt: skip
LABELS = {
    "train": """\
000002b66c9c498e,verification,/m/014j1m,0
000002b66c9c498e,verification,/m/0c9ph5,1
000002b66c9c498e,machine,/m/01599,0.9
0a00feee00000001,crowdsource-verification,/m/014j1m,1.0
0a00feee00000001,verification,/m/014j1m,1
0a00feee00000001,crowdsource-verification,/m/014j1m,0.0
0a00feee00000001,verification,/m/02wvth,1
000002b97e5471a0,verification,/m/02wvth,1
000002b97e5471a0,machine,/m/014j1m,1
000002b66c9c498e,verification,/m/03hgsf0,1
0a00feee00000001,verification,/m/03hgsf0,1
0a00feee00000001,crowdsource-verification,/m/03hgsf0,0
0a00feee00000001,human,/m/0jg57,0
""",
    "validation": "000026e7ee790996,verification,/m/014j1m,1\n000026e7ee790996,verification,/m/0k0pj,0\n",
    "test": "000062a39995e348,verification,/m/0c9ph5,0\n",
}
NAN = np.nan
WIRE = [[1, 0, NAN, 1, NAN, NAN], [NAN, 1, NAN, -1, 0, NAN], [NAN, 1, NAN, NAN, NAN, 0], [0, *[NAN] * 5]]
IDS = ["000002b66c9c498e", "0a00feee00000001", "000026e7ee790996", "000062a39995e348"]
LAYOUTS = {
    "v3": ("{0}/annotations-human.csv", "", ""),
    "2017_11": ("2017_11/{0}/annotations-human.csv", "2017_11/", ""),
    "v4": ("{0}-annotations-human-imagelabels.csv", "", "LabelName,DisplayName\n"),
    "2018_04": ("2018_04/{0}/{0}-annotations-human-imagelabels.csv", "2018_04/", ""),
    "v6": ("{1}{0}-annotations-human-imagelabels.csv", "oidv6-", "LabelName,DisplayName\n"),
    "v7": ("oidv7-{2}-annotations-human-imagelabels.csv", "oidv7-", "LabelName,DisplayName\n"),
}


def write(root: Path, layout: str = "v3", train: str = LABELS["train"]) -> Path:
    """The files of one version, without images."""
    pattern, prefix, header = LAYOUTS[layout]
    for part, rows in (LABELS | {"train": train}).items():
        name = pattern.format(part, "oidv6-" if part == "train" else "", part.replace("validation", "val"))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(HEADER + rows)
    (root / f"{prefix}classes-trainable.txt").write_text("\n".join(CLASSES) + "\n")
    (root / f"{prefix}class-descriptions.csv").write_text(header + DESCRIPTIONS)
    return root


@pytest.fixture
def images(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    for part, names in {"train": IDS[:2], "validation": IDS[2:3], "test": IDS[3:]}.items():
        for name in names:
            draw(tmp_path / "oi" / part / f"{name}.jpg")
    return tmp_path / "oi"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["auto", "open_images"])
def test_every_version(images, read, layout, form, monkeypatch):
    monkeypatch.setattr(open_images, "_CHUNK", 4)  # labels of one image lie in several chunks
    samples = read(write(images, layout), format=form)
    assert samples.name == "oi" and samples.classes == samples.table.categories == NAMES
    assert samples.ids.tolist() == IDS
    assert samples.part.tolist() == ["train", "train", "val", "test"]
    np.testing.assert_array_equal(samples.table.to_wire(), np.array(WIRE, dtype=np.float32))
    assert set(np.unique(samples.table.source)) == {UNKNOWN, GIVEN, UNCERTAIN}
    assert samples.unreadable == ("train: images left out, without a verified label of these categories: 1",)
    assert samples.source.read(3).shape == (6, 6, 3)
    assert (samples.label == -1).all() and samples.groups is None


def test_groups_by_the_number_of_known_labels_in_training(images, read, load):
    """Flower 1, Apple 2, Beer 0, Lemon 1 (an uncertain one is not known), first Bat 1, second Bat 0."""
    samples = read(write(images))
    flower, apple, beer, lemon, bat, other = NAMES
    groups = {
        "group-1": (beer, other),
        "group-2": (flower,),
        "group-3": (lemon,),
        "group-4": (bat,),
        "group-5": (apple,),
    }
    assert samples.table.category_groups == groups
    few = load(images, partial=True, categories=[lemon, beer, apple], select_share=0).table
    assert few.categories == (lemon, beer, apple)
    assert few.category_groups == {"group-1": (beer,), "group-3": (lemon,), "group-5": (apple,)}


def test_categories_are_chosen_before_the_table_is_made(images, read):
    samples = read(write(images), categories=["Apple"])
    assert samples.ids.tolist() == IDS[:3] and samples.classes == ("Apple",)
    assert samples.table.to_wire().ravel().tolist() == [0, 1, 1]
    assert samples.unreadable[-1] == "test: images left out, without a verified label of these categories: 1"
    with pytest.raises(DataError, match=r"data\.categories: 'Pear' is not a trainable class of"):
        read(images, categories=["Apple", "Pear"])


def test_splits(images, load):
    dataset = load(write(images), partial=True)
    assert dataset.sizes() == {"fit": 2, "select": 1, "test": 1}
    assert dataset.table.category_groups is not None


def test_classes_without_a_description_keep_their_identifier(images, read):
    write(images)
    path = images / "class-descriptions.csv"
    path.rename(images / "class-descriptions-boxable.csv").write_text("/m/0c9ph5,Flower\n/m/0jg57,\n")
    assert read(images).classes == ("Flower", *CLASSES[1:])
    (images / "class-descriptions-boxable.csv").unlink()
    assert read(images).classes == tuple(CLASSES)


def test_missing_images_fail_or_are_left_out_and_listed(images, read, load, monkeypatch):
    write(images)
    (images / "train" / f"{IDS[0]}.jpg").unlink()
    (images / "test" / f"{IDS[3]}.jpg").unlink()
    with pytest.raises(DataError, match=rf"train/{IDS[0]}\.jpg is listed but not there \(and 1 more\)"):
        read(images)
    samples = read(images, unreadable="skip")
    assert samples.ids.tolist() == IDS[1:3]
    np.testing.assert_array_equal(samples.table.to_wire(), np.array(WIRE[1:3], dtype=np.float32))
    assert [line.split(":")[0] for line in samples.unreadable] == ["train", IDS[0], IDS[3]]
    groups = samples.table.category_groups
    assert groups["group-5"] == ("Apple",) and groups["group-2"] == ("Flower",)  # of all labels, not of images there
    monkeypatch.setattr(open_images, "_LISTED", 0)
    assert read(images, unreadable="skip").unreadable[1] == f"{images / 'train'}: more images that are not there: 1"
    for part in ("train", "validation"):
        for image in (images / part).glob("*.jpg"):
            image.unlink()
    with pytest.raises(DataError, match="found no image with a verified label of 6 categories"):
        read(images, unreadable="skip")


def test_images_elsewhere(images, read, tmp_path):
    source = write(tmp_path / "labels", "v6")
    assert read(source, root=str(images)).source.read(0).shape == (6, 6, 3)
    with pytest.raises(DataError, match=r"is listed but not there.*3 more"):
        read(source)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["verification", "machine"]), st.integers(0, 7), st.booleans()),
        max_size=40,
    ),
    chunk=st.integers(1, 50),
)
def test_votes_by_brute_force(tmp_path, rows, chunk):
    """Labels against a dictionary of votes; classes 6 and 7 are not trainable."""
    path = tmp_path / "labels.csv"
    classes = [f"/m/{i}" for i in range(6)]
    lines = [f"{image:016x},{source},/m/{category},{int(positive)}\n" for image, source, category, positive in rows]
    path.write_text(HEADER + "".join(lines) + "ffffffffffffffff,verification,/m/0,1\n")
    votes: dict[tuple[str, int], int] = {("f" * 16, 0): 1}
    for image, source, category, positive in rows:
        if source != "machine" and category < 6:
            key = (f"{image:016x}", category)
            votes[key] = votes.get(key, 0) + (1 if positive else -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_images, "_CHUNK", chunk)
        verified = open_images._read_labels(path, classes)
    found = zip(verified.ids[verified.image].tolist(), verified.category.tolist(), verified.vote.tolist(), strict=True)
    assert {(image, category): vote for image, category, vote in found} == {k: np.sign(v) for k, v in votes.items()}
    assert len(verified.image) == len(votes)
    assert verified.ids.tolist() == [*dict.fromkeys(f"{image:016x}" for image, *_ in rows), "f" * 16]


ROW = "000002b66c9c498e,verification,/m/014j1m,"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("", "no rows"),
        (ROW + "0\n" + ROW + "0.5\n", "row 1: Confidence 0.5 of a verified label is neither 1 nor 0"),
        (ROW + "yes\n", "row 0: Confidence yes of a verified label is neither"),
        (ROW + "0\n" + ROW + "\n", "row 1: Confidence is blank"),
        (ROW + "0\n" + ROW[:-1], "row 1: Confidence is blank"),
        ("000002b66c9c498e,guess,/m/014j1m,1\n", "row 0: Source guess is none of verification, crowdsource-verif"),
        (",verification,/m/014j1m,1\n", "row 0: ImageID is blank"),
        ("000002b66c9c498e,verification,,1\n", "row 0: LabelName is blank"),
        (ROW + "0\n" + ROW + '"0\n', "cannot be read as .csv"),
    ],
)
def test_bad_rows(tmp_path, read, train, message):
    with pytest.raises(DataError, match=rf"train/annotations-human\.csv: {message}") as caught:
        read(write(tmp_path, train=train))
    assert "\n" not in str(caught.value)


def test_all_unknown(images, read):
    write(images, train="000002b66c9c498e,machine,/m/014j1m,0.7\n")
    for part in ("validation", "test"):
        (images / part / "annotations-human.csv").unlink()
    with pytest.raises(DataError, match="found no image with a verified label of 6 categories"):
        read(images)


def test_which_files_are_wanted(images, read, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read(tmp_path / "nowhere", format="open_images")
    with pytest.raises(DataError, match=r"oi: no train/annotations-human\.csv and no train-annotations-human-im"):
        read(images, format="open_images")
    write(images)
    (images / "test" / "annotations-human.csv").write_text(HEADER + LABELS["train"])
    with pytest.raises(DataError, match="in two parts: image '000002b66c9c498e' is listed twice"):
        read(images)
    (images / "test" / "annotations-human.csv").write_text("ImageID,LabelName,Confidence\n")
    with pytest.raises(DataError, match=r"no column 'Source'; it has ImageID, LabelName"):
        read(images)
    (images / "test" / "annotations-human.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"annotations-human\.csv: cannot be read"):
        read(images)
    write(images, "v4")
    with pytest.raises(DataError, match="keep the files of one version in the folder"):
        read(images)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("classes-trainable.txt", None, r"no classes-trainable\.txt"),
        ("classes-trainable.txt", "\n\n", r"classes-trainable\.txt: empty"),
        ("classes-trainable.txt", "/m/01\n/m/02\n/m/01\n", "class '/m/01' is listed twice"),
        ("class-descriptions.csv", "/m/0c9ph5,Flower\n/m/014j1m\n", "line 2: expected a class and its description"),
    ],
)
def test_bad_lists_of_classes(images, read, file, content, message):
    write(images)
    path = images / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=message):
        read(images)


def test_more_labels_than_memory(images, read, monkeypatch):
    write(images)

    def full(shape: Any, *arguments: Any, **options: Any) -> Any:
        if shape == (4, 6):
            raise MemoryError
        return of_numpy(shape, *arguments, **options)

    of_numpy = np.full
    monkeypatch.setattr(np, "full", full)
    with pytest.raises(DataError, match=r"labels of 4 images in 6 categories need 0\.0 GB, more than there is"):
        read(images)
