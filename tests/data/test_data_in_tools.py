"""Every row of the table "From other tools and collections" of docs/how-to/data-in.md is made, read and compared."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.data_in import Checks, Row
from labelwise.data.dataset import Samples

check = Checks("From other tools and collections")

TWO = ["train/0.jpg", "train/1.jpg"]


def _read(row: Row, files: list[str], text: str, **options: Any) -> Samples:
    row.draw(*files)
    samples = row.source(row.write(row.file, text), **options)
    assert samples.source.read(len(samples) - 1).shape == (4, 4, 3)
    return samples


def _refused(row: Row, text: str | bytes = "?", **options: Any) -> None:
    row.draw(*TWO)
    path = row.write(row.file, text)
    row.refused(lambda: row.source(path, **options))


@check("Kaggle: names of images in `id`")
def _(row: Row) -> None:
    assert _read(row, TWO, "id,label\n0,cat\n1,dog\n", image_column="id").label.tolist() == [0, 1]


@check("Planet, fastai: tags with blanks between them")
def _(row: Row) -> None:
    tags = ["haze primary", "clear primary", "haze", "clear", "primary"]
    files = [f"train-jpg/{i}.jpg" for i in range(5)]
    text = "image_name,tags\n" + "".join(f"{name},{tag}\n" for name, tag in zip(files, tags, strict=True))
    columns = {"image_column": "image_name", "label_column": "tags"}
    assert len(_read(row, files, text, **columns).classes) == 5
    samples = Row("", row.file, "noted", row.folder).source(row.path, label_separator=" ", **columns)
    assert samples.classes == ("clear", "haze", "primary")
    np.testing.assert_array_equal(samples.table.values[0], [0, 1, 1])


@check("ImageNet, PaddleClas, mmpretrain")
def _(row: Row) -> None:
    samples = _read(row, TWO, "train/0.jpg 970\ntrain/1.jpg 65\n")
    assert samples.classes == ("65", "970") and samples.label.tolist() == [1, 0]


@check("EuroSAT")
def _(row: Row) -> None:
    text = ",Filename,Label,ClassName\n0,Forest/0.jpg,1,Forest\n1,Crop/1.jpg,0,Crop\n"
    columns = {"image_column": "Filename", "label_column": "ClassName"}
    assert _read(row, ["Forest/0.jpg", "Crop/1.jpg"], text, **columns).classes == ("Crop", "Forest")


@check("ISIC: a column a class")
def _(row: Row) -> None:
    samples = _read(row, TWO, "image,MEL,NV\n0,0.0,1.0\n1,1.0,0.0\n", image_column="image", label_columns=["*"])
    np.testing.assert_array_equal(samples.table.values, [[0, 1], [1, 0]])


@check("PadChest")
def _(row: Row) -> None:
    columns = {"image_column": "ImageID", "label_column": "Labels", "root": str(row.folder / "train")}
    text = "ImageID,Labels\n0.jpg,['normal']\n1.jpg,\"['nodule', 'scoliosis']\"\n"
    np.testing.assert_array_equal(_read(row, TWO, text, **columns).table.values, [[0, 1, 0], [1, 0, 1]])
    _refused(row, text.replace("'scoliosis'", "nan"), **columns)


@check("VinDr: a row for each radiologist")
def _(row: Row) -> None:
    text = "image_id,rad_id,Atelectasis\n0,R1,0\n0,R2,1\n"
    _refused(row, text, image_column="image_id", label_columns=["Atelectasis"])


@check("CelebA: 1 and -1 alone")
def _(row: Row) -> None:
    text = "image_id,Smiling,Young\ntrain/0.jpg,-1,1\ntrain/1.jpg,1,-1\n"
    samples = _read(row, TWO, text, image_column="image_id", label_columns=["*"])
    np.testing.assert_array_equal(samples.table.values, [[np.nan, 1], [1, np.nan]])


@check("CUB-200")
def _(row: Row) -> None:
    _refused(row, "1 001.Black/0.jpg\n2 002.White/1.jpg\n")
    row.draw("images/001.Black/0.jpg", "images/002.White/1.jpg")
    assert row.source(row.folder / "images").classes == ("001.Black", "002.White")


@check("PlantVillage: classes in several versions")
def _(row: Row) -> None:
    row.draw(*(f"{version}/{name}/0.jpg" for version in ("color", row.file) for name in ("Apple", "Pear")))
    assert row.source(row.folder).classes == ("color", "grayscale")
    assert Row("", "", "", row.folder).source(row.path).classes == ("Apple", "Pear")


check("Stanford Cars")(_refused)


@check("LVIS")
def _(row: Row) -> None:
    image = {"id": 1, "file_name": "train/0.jpg", "neg_category_ids": [2]}
    annotations, categories = [{"image_id": 1, "category_id": 1}], [{"id": 1, "name": "a"}]
    _refused(row, json.dumps({"images": [image], "annotations": annotations, "categories": categories}))


@check("Hugging Face `imagefolder` with a table a part")
def _(row: Row) -> None:
    row.draw(*TWO, "test/0.jpg")
    row.write(row.file, "file_name,label\n0.jpg,cat\n1.jpg,dog\n")
    row.write("test/metadata.csv", "file_name,label\n0.jpg,dog\n")
    samples = row.source(row.folder)
    assert samples.ids.tolist() == ["test/0.jpg", *TWO] and samples.part.tolist() == ["test", "train", "train"]
    assert samples.label.tolist() == [1, 0, 1] and samples.name == row.folder.name


@check("the same with lists in `labels`")
def _(row: Row) -> None:
    row.draw(*TWO)
    lists = [["a", "b"], []]
    row.write(row.file, "\n".join(json.dumps({"file_name": f"{i}.jpg", "labels": one}) for i, one in enumerate(lists)))
    np.testing.assert_array_equal(row.source(row.folder).table.values, [[1, 1], [0, 0]])


@check("Hugging Face Parquet with images in it")
def _(row: Row) -> None:
    row.path.parent.mkdir()
    pd.DataFrame({"image": [{"bytes": b"x", "path": None}], "label": ["cat"]}).to_parquet(row.path)
    row.refused(lambda: row.source(row.path, image_column="image"))


@check("Roboflow, several labels")
def _(row: Row) -> None:
    row.draw(*TWO, "valid/2.jpg")
    row.write(row.file, "filename, cat, dog\n0.jpg, 1, 0\n1.jpg, 1, 1\n")
    row.write("valid/_classes.csv", "filename, cat, dog\n2.jpg, 0, 1\n")
    samples = row.source(row.folder)
    assert samples.ids.tolist() == [*TWO, "valid/2.jpg"] and samples.part.tolist() == ["train", "train", "val"]
    np.testing.assert_array_equal(samples.table.values, [[1, 0], [1, 1], [0, 1]])


@check("Roboflow, boxes")
def _(row: Row) -> None:
    text = "filename,class,xmin\n0.jpg,cat,1\n0.jpg,dog,2\n"
    _refused(row, text, image_column="filename", label_column="class")


@check("Google AutoML")
def _(row: Row) -> None:
    text = "TRAIN,gs://bucket/train/0.jpg,cat\nUNASSIGNED,gs://bucket/train/1.jpg,dog\n"
    _refused(row, text)
    assert _read(row, TWO, f"set,path,label\n{text}", split_column="set").part.tolist() == ["train", ""]


@check("Label Studio, CSV")
def _(row: Row) -> None:
    text = "id,choice,image\n1,cat,/data/upload/1/0.jpg\n2,dog,/data/upload/1/1.jpg\n"
    columns = {"image_column": "image", "label_column": "choice", "root": str(row.folder / "train")}
    assert _read(row, TWO, text, **columns).label.tolist() == [0, 1]


for _what, _text in {
    "Label Studio, VIA and other JSON": '[{"data": {"image": "train/0.jpg"}}]',
    "CVAT, XML": "<annotations/>",
    "Excel": "PK",
    "TensorFlow records": "?",
    "packed images": "PK",
    "addresses instead of files": "path,label\nhttps://example.org/0.jpg,cat\n",
}.items():
    check(_what)(partial(_refused, text=_text))


@pytest.mark.parametrize("place", range(len(check.rows)), ids=lambda place: check.rows[place].what)
def test_the_row_is_true(place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.run(place, tmp_path, capsys)
