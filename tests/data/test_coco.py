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
        (lambda c: c["annotations"][2].update(category_id="1"), r"annotations\[2\] has no 'category_id' that is a"),
        (lambda c: c["images"][3].pop("file_name"), r"images\[3\] has no 'file_name' that is text"),
        (lambda c: c["images"].append("9.jpg"), r"images\[4\] has no 'id'"),
        (lambda c: c["images"][1].update(id=9), "images: id 9 is listed twice"),
        (lambda c: c["images"][1].update(c["images"][0] | {"id": 4}), "file_name 'COCO_train2014_000000057870.jpg' is"),
        (lambda c: c["images"][1].update(file_name="COCO_val2014_000000000042.jpg"), "coco: image .* is listed twice"),
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
