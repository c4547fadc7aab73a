"""Manifests of multi-label data: a column a category, or one column that lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data import data_config
from labelwise.data.dataset import Samples
from labelwise.data.readers import load_dataset, read_samples
from labelwise.errors import ConfigError, DataError
from labelwise.labels.table import GIVEN, UNCERTAIN, UNKNOWN

NAMES = [f"img/{i}.png" for i in range(6)]
CAT = ["1", "0", "", "-1", "0.25", "1.0"]
DOG = ["true", "False", " ", "-1.0", "TRUE", "0"]


def manifest(root: Path, suffix: str = ".csv", **columns: Any) -> Path:
    (root / "img").mkdir(parents=True, exist_ok=True)
    for i in range(6):
        Image.new("L", (4, 4), i).save(root / "img" / f"{i}.png")
    frame = pd.DataFrame({"path": NAMES} | columns)
    path = root / f"list{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    return path


def read(path: Path, **options: Any) -> Samples:
    return read_samples(data_config({"source": str(path), **options}))


def wire(samples: Samples) -> np.ndarray:
    assert samples.table is not None and samples.table.categories == samples.classes
    assert (samples.label == -1).all() and len(samples.label) == len(samples.ids)
    return samples.table.to_wire()


def test_a_column_a_category(tmp_path):
    samples = read(manifest(tmp_path, cat=CAT, age=["63"] * 6, dog=DOG), label_columns=["dog", "cat"])
    assert samples.classes == ("dog", "cat") and samples.ids.tolist() == NAMES
    expected = [[1, 1], [0, 0], [np.nan, np.nan], [-1, -1], [1, 0.25], [0, 1]]
    np.testing.assert_array_equal(wire(samples), np.array(expected, dtype=np.float32))
    kinds = [GIVEN, GIVEN, UNKNOWN, UNCERTAIN, GIVEN, GIVEN]
    assert samples.table.source[:, 1].tolist() == kinds
    assert samples.source.channels == 1 and samples.source.read(3).shape == (4, 4, 1)


def test_star_is_every_column_that_is_nothing_else(tmp_path):
    columns = {"split": ["train"] * 4 + ["test"] * 2, "cat": CAT, "scene": list("aabbcc"), "dog": DOG}
    path = manifest(tmp_path, **columns)
    samples = read(path, label_columns=["*"], group_column="scene")
    assert samples.classes == ("cat", "dog")
    assert samples.groups.tolist() == list("aabbcc") and samples.part.tolist()[3:5] == ["train", "test"]
    dataset = load_dataset(
        data_config(
            {
                "source": str(path),
                "label_columns": ("*",),
                "group_column": "scene",
                "categories": ("dog",),
                "select_share": 0,
            }
        ),
        partial=True,
    )
    assert dataset.classes == ("dog",) and dataset.sizes() == {"fit": 4, "select": 0, "test": 2}
    with pytest.raises(DataError, match=r"row 0, column 'scene': 'a' is not a label; use 1, 0, blank"):
        read(path, label_columns=["*"])


def test_types_of_parquet(tmp_path):
    columns = {
        "flag": [True, False, True, False, True, False],
        "maybe": pd.array([True, None, False, True, None, False], dtype="boolean"),
        "whole": pd.array([1, 0, None, -1, 0, 1], dtype="Int64"),
        "soft": [0.5, np.nan, 1, 0, -1, 0.125],
        "words": ["1", None, "0", "-1", "true", ""],
        "mixed": pd.Series([True, None, False, None, None, True], dtype=object),
    }
    labels = wire(read(manifest(tmp_path, ".parquet", **columns), label_columns=["*"]))
    nan = np.nan
    expected = [
        [1, 0, 1, 0, 1, 0],
        [1, nan, 0, 1, nan, 0],
        [1, 0, nan, -1, 0, 1],
        [0.5, nan, 1, 0, -1, 0.125],
        [1, nan, 0, -1, 1, nan],
        [1, nan, 0, nan, nan, 1],
    ]
    np.testing.assert_array_equal(labels.T, np.array(expected, dtype=np.float32))


@pytest.mark.parametrize(("unlisted", "rest"), [("negative", 0), ("unknown", np.nan)])
def test_a_column_that_lists_categories(tmp_path, unlisted, rest):
    path = manifest(tmp_path, label=["dog|cat", "cat", "", "a b", "cat | cat|", "dog"])
    samples = read(path, label_separator="|", unlisted=unlisted)
    assert samples.classes == ("a b", "cat", "dog")
    expected = [[0, 1, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    np.testing.assert_array_equal(wire(samples), np.where(np.array(expected) == 1, 1, np.float32(rest)))


def test_lists_of_parquet_need_no_separator(tmp_path):
    lists = [["dog", "cat"], ["cat"], [], None, ["dog", "dog"], ["cat"]]
    samples = read(manifest(tmp_path, ".parquet", tags=lists), label_column="tags")
    nan = np.nan  # a row without a value is not labelled; an empty list lists nothing
    expected = np.array([[1, 1], [1, 0], [0, 0], [nan, nan], [0, 1], [1, 0]], dtype=np.float32)
    np.testing.assert_array_equal(wire(samples), expected)
    assert (
        read(manifest(tmp_path, ".parquet", tags=lists), label_column="tags", unlisted="unknown").table.counts()[0][
            "unknown"
        ]
        == 3
    )
    text = ["dog,cat", "cat", "", None, "dog", "cat"]
    samples = read(manifest(tmp_path, ".parquet", tags=text), label_column="tags", label_separator=",")
    np.testing.assert_array_equal(wire(samples), expected)


def test_without_these_options_text_is_one_class(tmp_path):
    samples = read(manifest(tmp_path, label=["dog|cat", "cat"] * 3))
    assert samples.table is None and samples.classes == ("cat", "dog|cat")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"cat": CAT}, {"label_columns": ["cat", "cow"]}, r"list\.csv: no column 'cow'; it has path, cat"),
        ({"cat": ["1", "2", "2", "", "", ""]}, {"label_columns": ["cat"]}, r"row 1, column 'cat': '2' is not a label"),
        (
            {"cat": ["1", "yes", "", "", "", ""]},
            {"label_columns": ["cat"]},
            r"row 1, column 'cat': 'yes' is not a label",
        ),
        ({"cat": ["1", "", "", "", "", "-inf"]}, {"label_columns": ["cat"]}, r"row 5, column 'cat': '-inf' is no"),
        ({"cat": [""] * 6, "dog": [" "] * 6}, {"label_columns": ["*"]}, "every label is blank in cat, dog"),
        ({"cat": CAT}, {"label_columns": ["cat", "cat"]}, "category 'cat' is named twice"),
        ({}, {"label_columns": ["*"]}, r"data\.label_columns is '\*', but it has only path"),
        ({}, {"label_separator": "|"}, r"no column 'label' \(data\.label_column\)"),
        ({"label": [""] * 6}, {"label_separator": "|"}, "column 'label' lists no category in any row"),
        ({"cat": CAT, "path": [*NAMES[:5], NAMES[0]]}, {"label_columns": ["cat"]}, "path 'img/0.png' is listed twice"),
        ({"cat": CAT, "path": [*NAMES[:5], ""]}, {"label_columns": ["cat"]}, "row 5 has no path"),
        (
            {"cat": CAT, "path": [*NAMES[:5], "img/9.png"]},
            {"label_columns": ["cat"]},
            r"9\.png is listed but not there",
        ),
    ],
)
def test_bad_tables(tmp_path, columns, options, message):
    with pytest.raises(DataError, match=message) as caught:
        read(manifest(tmp_path, **columns), **options)
    assert "list.csv" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["cat"], ["dog", None], [], [], [], []], r"column 'label', row 1: 'None' is not the name of a category"),
        ([["cat"], ["dog", ""], [], [], [], []], r"column 'label', row 1: '' is not the name"),
        ([[1.5], [2, 1], [], [], [], []], r"column 'label', row 0: '1.5' is not the name"),
        ([[], [], [], [], [], None], "column 'label' lists no category"),
    ],
)
def test_bad_lists(tmp_path, lists, message):
    with pytest.raises(DataError, match=message):
        read(manifest(tmp_path, ".parquet", label=lists))


def test_a_list_is_no_cell_of_a_category(tmp_path):
    path = manifest(tmp_path, ".parquet", cat=[["a"]] * 6)
    with pytest.raises(DataError, match="column 'cat' holds lists"):
        read(path, label_columns=["cat"])


def test_a_column_that_is_there_twice(tmp_path):
    """pandas would quietly call the second one cat.1."""
    path = manifest(tmp_path, cat=CAT, dog=DOG)
    path.write_text(path.read_text().replace("path,cat,dog", "path,cat,cat"))
    for columns in (["*"], ["cat"]):
        with pytest.raises(DataError, match=r"column 'cat' is listed twice"):
            read(path, label_columns=columns)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_columns": ["cat"], "label_separator": "|"}, r"data\.label_columns and data\.label_separator"),
        ({"label_columns": ["cat"], "unlisted": "unknown"}, r"data\.label_columns and data\.unlisted"),
        ({"label_columns": ["*", "cat"]}, r"'\*' stands for all columns"),
        ({"label_separator": ""}, r"data\.label_separator is empty"),
        ({"label_column": "tags", "label_separator": "|"}, "not needed: .*column 'tags' holds lists"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, options, message):
    path = manifest(tmp_path, ".parquet", cat=[1, 0] * 3, label=["a"] * 6, tags=[["a"]] * 6)
    with pytest.raises(ConfigError, match=message):
        read(path, **options)


def test_a_missing_image_can_be_skipped(tmp_path):
    path = manifest(tmp_path, cat=CAT)
    (tmp_path / "img" / "1.png").unlink()
    options = {"source": str(path), "label_columns": ["cat"], "unreadable": "skip", "test_share": 0.4}
    dataset = load_dataset(data_config(options), partial=True)
    assert len(dataset) == 5 and dataset.table is not None and len(dataset.table) == 5
    assert "1.png: no such image" in dataset.unreadable[0]
