"""Every row of the table "Layouts" of docs/how-to/data-in.md is made, read and compared."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.data import data_config
from helpers.data_in import Checks, Row
from labelwise.data.dataset import Samples
from labelwise.data.readers import load_dataset, read_samples
from labelwise.data.readers.chexpert import OBSERVATIONS

check = Checks("Layouts")


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


@pytest.mark.parametrize("place", range(len(check.rows)), ids=lambda place: check.rows[place].what)
def test_the_row_is_true(place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.run(place, tmp_path, capsys)
