"""MS-COCO in miniature: sparse category ids, crowds, images without annotations, and files that are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.data.dataset import ImageFiles
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN

# Ids have gaps and are not in the order of the file, as published: 12 is no category.
CATEGORIES = [
    {"supercategory": "outdoor", "id": 13, "name": "stop sign"},
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "outdoor", "id": 11, "name": "fire hydrant"},
]
TRAIN = {57870: [1, 1, 13], 384029: [], 222016: [11], 9: [1]}  # in an order that is neither that of ids nor of names
VAL = {42: [13], 73: []}
LABELS = [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]


def instances(part: str, images: dict[int, list[int]], year: int = 2014) -> dict[str, Any]:
    name = "COCO_{0}{1}_{2:012}.jpg" if year == 2014 else "{2:012}.jpg"
    pairs = [(image, category) for image, categories in images.items() for category in categories]
    return {
        "info": {"description": f"COCO {year} Dataset", "version": "1.0", "year": year},
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}],
        "images": [
            {"license": 4, "file_name": name.format(part, year, image), "height": 6, "width": 6, "id": image}
            for image in images
        ],
        "annotations": [
            {
                "segmentation": {"counts": [20, 16], "size": [6, 6]} if number == 2 else [[1.0, 1.5, 4.0, 5.0]],
                "area": 5.25,
                "iscrowd": int(number == 2),
                "image_id": image,
                "bbox": [1.0, 1.5, 3.0, 3.5],
                "category_id": category,
                "id": 156 + number,
            }
            for number, (image, category) in reversed(list(enumerate(pairs)))
        ],
        "categories": CATEGORIES,
    }  # fmt: skip


@pytest.fixture
def coco(tmp_path: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Write a folder of one year; ``change`` alters the training file's content first."""

    def write(change: Callable[[dict[str, Any]], None] | None = None, year: int = 2014) -> Path:
        root = tmp_path / "coco"
        for part, images in (("train", TRAIN), ("val", VAL)):
            content = instances(part, images, year)
            for image in content["images"]:
                draw(root / f"{part}{year}" / image["file_name"])
            if change is not None and part == "train":
                change(content)
            (root / "annotations").mkdir(exist_ok=True)
            (root / "annotations" / f"instances_{part}{year}.json").write_text(json.dumps(content))
            (root / "annotations" / f"captions_{part}{year}.json").write_text("{}")
        return root

    return write


@pytest.mark.parametrize("year", [2014, 2017])
@pytest.mark.parametrize("form", ["auto", "coco"])
def test_labels_are_complete_and_rows_in_the_files_order(coco, read, year, form):
    samples = read(coco(year=year), format=form)
    assert samples.name == "coco"
    assert samples.classes == samples.table.categories == ("person", "fire hydrant", "stop sign")
    np.testing.assert_array_equal(samples.table.values, np.array(LABELS, dtype=np.float32))
    assert (samples.table.source == GIVEN).all()
    assert [int(name[-16:-4]) for name in samples.ids.tolist()] == [*TRAIN, *VAL]
    assert samples.part.tolist() == ["train"] * 4 + ["val"] * 2
    assert (samples.label == -1).all() and samples.groups is None
    assert isinstance(samples.source, ImageFiles) and samples.source.channels == 3
    assert samples.source.read(3).shape == (6, 6, 3)
    assert [path.name for path in samples.source.paths] == samples.ids.tolist()


def test_splits_and_categories(coco, load):
    dataset = load(coco(), partial=True, select_share=0.25, categories=["stop sign", "person"])
    assert dataset.sizes() == {"fit": 3, "select": 1, "test": 2}
    assert dataset.table.categories == dataset.classes == ("stop sign", "person")
    np.testing.assert_array_equal(dataset.table.values[dataset.split == "test"], [[1, 0], [0, 0]])


@pytest.mark.parametrize("write", [str, float, lambda number: f"img-{number}"])
def test_ids_may_be_text(coco, read, write):
    """Of images, and where all are the same kind of number, of annotations written in another way."""

    def change(content):
        for entry in content["images"]:
            entry["id"] = write(entry["id"])
        for entry in content["annotations"]:
            entry["image_id"] = write(entry["image_id"])
            entry["category_id"] = str(entry["category_id"])

    np.testing.assert_array_equal(read(coco(change)).table.values, LABELS)


def test_categories_with_names_for_ids_keep_their_order(coco, read):
    def change(content):
        for entry in content["annotations"]:
            entry["category_id"] = f"c{entry['category_id']}"
        content["categories"] = [entry | {"id": f"c{entry['id']}"} for entry in CATEGORIES]

    root = coco(change)
    (root / "annotations" / "instances_val2014.json").unlink()
    samples = read(root)
    assert samples.classes == ("stop sign", "person", "fire hydrant")
    np.testing.assert_array_equal(samples.table.values, np.array(LABELS)[:4][:, [2, 0, 1]])


@pytest.mark.parametrize("exported", [True, False])
def test_layouts_of_other_tools(coco, read, exported, draw):
    """Without a year, as tools export it: one name may stand in two parts, and file names may hold the folder."""
    root = coco()
    for part, year in (("train", "train2014"), ("val", "val2014")):
        path = root / "annotations" / f"instances_{year}.json"
        content = json.loads(path.read_text())
        for i, entry in enumerate(content["images"]):
            entry["file_name"] = f"{i}.jpg" if exported else f"{part}/{i}.jpg"
            draw(root / part / f"{i}.jpg")
        new = root / part / "_annotations.coco.json" if exported else path.with_name(f"instances_{part}.json")
        new.write_text(json.dumps(content))
        path.unlink()
    samples = read(root)
    np.testing.assert_array_equal(samples.table.values, LABELS)
    assert samples.ids.tolist() == [f"train/{i}.jpg" for i in range(4)] + [f"val/{i}.jpg" for i in range(2)]
    assert [path.relative_to(root).as_posix() for path in samples.source.paths] == samples.ids.tolist()


def test_images_may_lie_elsewhere(coco, read, tmp_path):
    root = coco()
    (tmp_path / "images").mkdir()
    for part in ("train2014", "val2014"):
        (root / part).rename(tmp_path / "images" / part)
    with pytest.raises(DataError, match=r"train2014/COCO_train2014_000000057870\.jpg is listed but not there.*5 more"):
        read(root)
    assert read(root, root=str(tmp_path / "images")).source.read(5).shape == (6, 6, 3)


def test_one_file_has_no_parts(coco, read, load, tmp_path):
    root = coco()
    source = root / "annotations" / "instances_train2014.json"
    samples = read(source, root=str(root / "train2014"))
    assert set(samples.part) == {""} and len(samples) == 4
    np.testing.assert_array_equal(samples.table.values, LABELS[:4])
    assert load(source, partial=True, root=str(root / "train2014"), select_share=0).sizes()["test"] == 1


def test_a_missing_image_is_skipped_and_listed(coco, load):
    root = coco()
    (root / "train2014" / "COCO_train2014_000000222016.jpg").unlink()
    with pytest.raises(DataError, match=r"000000222016\.jpg is listed but not there"):
        load(root, partial=True)
    dataset = load(root, partial=True, unreadable="skip", select_share=0)
    assert len(dataset) == 5 and len(dataset.unreadable) == 1
    assert dataset.unreadable[0].startswith("COCO_train2014_000000222016.jpg: ")
    np.testing.assert_array_equal(dataset.table.values, [row for i, row in enumerate(LABELS) if i != 2])


def test_which_files_are_wanted(coco, read, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no annotations/instances_trainYEAR\.json"):
        read(tmp_path / "empty", format="coco")
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read(tmp_path / "none.json", format="coco")
    root = coco()
    coco(year=2017)
    with pytest.raises(DataError, match="instances of 2014 and 2017; keep one year"):
        read(root)


def test_without_validation(coco, read):
    root = coco()
    (root / "annotations" / "instances_val2014.json").unlink()
    assert set(read(root).part) == {"train"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("annotations"), "no 'annotations', or none in it"),
        (lambda c: c.update(images=[]), "no 'images', or none in it"),
        (lambda c: c.update(annotations=[]), "no 'annotations', or none in it"),
        (lambda c: c.update(categories={}), "no 'categories', or none in it"),
        (lambda c: c["annotations"][1].update(category_id=12), r"annotations\[1\]: category_id 12 is not the id of"),
        (lambda c: c["annotations"][0].update(image_id=5), r"annotations\[0\]: image_id 5 is not the id of a li"),
        (lambda c: c["annotations"][2].pop("image_id"), r"annotations\[2\] has no 'image_id' that is a whole number"),
        (lambda c: c["annotations"][2].update(category_id=1.5), r"annotations\[2\] has no 'category_id' that is a"),
        (lambda c: c["annotations"][2].update(category_id="01"), r"annotations\[2\]: category_id 01 is not the id"),
        (lambda c: c["annotations"][2].update(category_id=True), r"annotations\[2\] has no 'category_id' that is a"),
        (lambda c: c["images"][3].pop("file_name"), r"images\[3\] has no 'file_name' that is text"),
        (lambda c: c["images"].append("9.jpg"), r"images\[4\] has no 'id'"),
        (lambda c: c["images"][1].update(id=9), "images: id 9 is listed twice"),
        (lambda c: c["images"][1].update(c["images"][0] | {"id": 4}), "file_name 'COCO_train2014_000000057870.jpg' is"),
        (lambda c: c["images"][1].update(file_name="COCO_val2014_000000000042.jpg"), "42.jpg is listed but not there"),
        (lambda c: c.update(categories=[*CATEGORIES, {"id": 1, "name": "cat"}]), "categories: id 1 is listed twice"),
        (lambda c: c.update(categories=[*CATEGORIES, {"id": 2, "name": "person"}]), "name 'person' is listed twice"),
        (lambda c: c.update(categories=[*CATEGORIES, {"id": 2, "name": "bicycle"}]), "2014.json: categories are not"),
    ],
)  # fmt: skip
def test_bad_content(coco, read, change, message):
    with pytest.raises(DataError, match=message) as caught:
        read(coco(change))
    assert "coco" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1, 2]", None])
def test_damaged_files(coco, read, content):
    root = coco()
    path = root / "annotations" / "instances_train2014.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2] if content is None else content)
    message = "no 'images'" if content == "[1, 2]" else "truncated or not JSON"
    with pytest.raises(DataError, match=rf"instances_train2014\.json: {message}"):
        read(root)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match=r"instances_train2014\.json: cannot be read as text"):
        read(root)
