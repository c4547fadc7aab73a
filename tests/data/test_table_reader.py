"""A CSV or Parquet manifest of one class per row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labelwise.errors import ConfigError, DataError


@pytest.fixture
def manifest(draw: Callable[..., Path]) -> Callable[..., Path]:
    """Write six images and a table of them; a column that is None is left out."""

    def write(root: Path, suffix: str = ".csv", **columns: Any) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        names = [draw(root / "img" / f"{i}.png").relative_to(root).as_posix() for i in range(6)]
        default = {"path": names, "label": ["cat", "dog"] * 3, "split": ["train"] * 4 + ["test"] * 2}
        frame = pd.DataFrame({name: values for name, values in (default | columns).items() if values is not None})
        path = root / f"list{suffix}"
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
        return path

    return write


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifest(tmp_path, suffix, read, manifest):
    samples = read(manifest(tmp_path, suffix))
    assert samples.classes == ("cat", "dog")
    assert samples.label.tolist() == [0, 1] * 3
    assert samples.part.tolist() == ["train"] * 4 + ["test"] * 2
    assert samples.ids[2] == "img/2.png"
    assert samples.source.read(2).shape == (6, 6, 3)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifest_with_integers_root_groups_and_other_names(tmp_path, suffix, read, manifest):
    path = manifest(
        tmp_path / "images", suffix, path=None, split=None, label=None,
        file=[f"{i}.png" for i in range(6)], y=[0, 2, 1, 0, 1, 2], fold=["fit", "fit", "select", "fit", "test", "test"],
        patient=[7, 7, 8, 9, None, None],
    )  # fmt: skip
    path = path.rename(tmp_path / path.name)
    options = {"image_column": "file", "label_column": "y", "split_column": "fold", "group_column": "patient"}
    samples = read(path, root=str(tmp_path / "images" / "img"), **options)
    assert samples.label.tolist() == [0, 2, 1, 0, 1, 2]
    assert samples.classes == ("0", "1", "2")
    assert samples.part.tolist() == ["fit", "fit", "select", "fit", "test", "test"]
    assert samples.groups[0] == samples.groups[1] != samples.groups[2]
    assert samples.groups.tolist()[4:] == ["4.png", "5.png"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_blank_labels_are_unlabelled_and_odd_names_are_names(tmp_path, suffix, read, manifest):
    numbers = pd.array([0, 1, None, 0, 1, 1], dtype="Int64")
    assert read(manifest(tmp_path, suffix, label=numbers)).label.tolist() == [0, 1, -1, 0, 1, 1]
    assert read(manifest(tmp_path, suffix, label=["NA", "b", None, "NA", "b", "b"])).classes == ("NA", "b")
    assert read(manifest(tmp_path, suffix, label=["007", "1"] * 3)).classes == ("007", "1")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"image_column": "file"}, r"no column 'file' \(data.image_column\); it has path, label, split"),
        ({}, {"label_column": "y"}, "no column 'y'"),
        ({}, {"split_column": "fold"}, "no column 'fold'"),
        ({}, {"group_column": "patient"}, "no column 'patient'"),
        (
            {"path": ["img/0.png"] * 2 + [f"img/{i}.png" for i in range(4)]},
            {},
            "path 'img/0.png' is listed twice, in rows that differ",
        ),
        (
            {"path": ["img/0.png", "img/9.png", "img/8.png", "img/1.png", "img/2.png", "img/3.png"]},
            {},
            r"9.png is .*1 more",
        ),
        ({"path": ["img/0.png", ""] + [f"img/{i}.png" for i in range(2, 6)]}, {}, "row 1 has no path"),
        ({"split": ["train"] * 5 + ["later"]}, {}, "row 5 says later"),
        ({"label": [0, 1, -3, 0, 1, 1]}, {}, "label -3 of row 2 is out of range"),
    ],
)
def test_bad_manifest(tmp_path, columns, options, message, read, manifest):
    with pytest.raises(DataError, match=message):
        read(manifest(tmp_path, **columns), **options)


def test_damaged_tables(tmp_path, read):
    for name in ("a.csv", "a.parquet"):
        (tmp_path / name).write_bytes(b'"\xff\xfe\n1,2\n1,2,3\n')
        with pytest.raises(DataError, match=f"{name}: (cannot be read|not UTF-8)"):
            read(tmp_path / name)
    (tmp_path / "a.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="no rows"):
        read(tmp_path / "a.csv")
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "b.csv")


def test_a_listed_image_that_is_missing_can_be_skipped(tmp_path, load, manifest):
    path = manifest(tmp_path, split=None)
    (tmp_path / "img" / "3.png").unlink()
    with pytest.raises(DataError, match=r"3\.png is listed but not there"):
        load(path)
    dataset = load(path, unreadable="skip", select_share=0, test_share=0.2)
    assert len(dataset) == 5
    assert "3.png: no such image" in dataset.unreadable[0]


def test_paths_of_windows_and_names_without_an_ending(tmp_path, read, manifest, draw):
    written = ["img\\0.png", "img/1", "img\\2", "img/3.png", "img/4.png", "img/5.png"]
    samples = read(manifest(tmp_path, path=written))
    assert samples.ids.tolist() == written
    assert [path.name for path in samples.source.paths] == [f"{i}.png" for i in range(6)]
    draw(tmp_path / "img" / "1.jpg")
    with pytest.raises(DataError, match=r"img/1 is listed but not there; set data\.root"):  # which of the two?
        read(tmp_path / "list.csv")


def test_a_table_larger_than_memory_is_one_line(tmp_path, read, manifest, monkeypatch):
    def full(*args: Any, **options: Any) -> None:
        raise MemoryError

    path = manifest(tmp_path)
    monkeypatch.setattr(pd, "read_csv", full)
    with pytest.raises(DataError, match=r"list\.csv: its 0\.0 GB do not fit into memory"):
        read(path)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_lists_as_python_and_json_write_them(tmp_path, read, manifest, quote):
    cells = ["['a', 'b']", " ['a']", "[]", "", "['b', 'b ']", "['7', 7]"]
    samples = read(manifest(tmp_path, label=[cell.replace("'", quote) for cell in cells]))
    assert samples.classes == ("7", "a", "b")
    expected = [[0, 1, 1], [0, 1, 0], [0, 0, 0], [np.nan] * 3, [0, 0, 1], [1, 0, 0]]
    np.testing.assert_array_equal(samples.table.values, expected)


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (["[a b]"] * 6, {}, r"row 0: '\[a b\]' is no list as Python or JSON writes it; write it as a\|b and set data"),
        (["['a']"] * 5 + ["['a', None]"], {}, "row 5: 'None' is not the name of a category"),
        (["[" * 9000 + "]" * 9000] * 6, {}, "row 0: '.* is no list as Python"),
        (
            ["['a']"] * 6,
            {"label_separator": ","},
            r"label_separator is not needed: .*'label' holds lists; leave it out",
        ),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, read, manifest, cells, options, message):
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        read(manifest(tmp_path, label=cells), **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_columns_that_are_not_used_are_told_in_one_line(tmp_path, read, manifest, capsys):
    path = manifest(tmp_path, split=None, Split=["train"] * 4 + ["test"] * 2, age=range(6))
    read(path)
    assert capsys.readouterr().err == f"{path}: columns not used: Split, age; data.split_column=Split reads the split\n"
    assert read(path, split_column="Split", group_column="age").part.tolist() == ["train"] * 4 + ["test"] * 2
    assert capsys.readouterr().err == ""


def test_names_that_look_alike_are_one_class(tmp_path, read, manifest):
    labels = ["caf\u00e9", "cafe\u0301", "dog ", "dog", " dog", "caf\u00e9 "]
    samples = read(manifest(tmp_path, label=labels))
    assert samples.classes == ("caf\u00e9", "dog") and samples.label.tolist() == [0, 0, 1, 1, 1, 0]


def test_one_path_written_in_two_ways_is_listed_twice(tmp_path, read, manifest):
    with pytest.raises(DataError, match=r"'img/0\.png' is listed twice"):
        read(manifest(tmp_path, path=["img/0.png", "./img/0.png", *(f"img/{i}.png" for i in range(2, 6))]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n\n", "empty, no line in it"),
        ("path,label\na.png,caf\u00e9\n".encode("latin-1"), "not UTF-8 .*; save it as UTF-8"),
        (b"path,label\na.png,cat,\nb.png,dog,\n", "a comma at their end; remove the comma, or name the column"),
    ],
)
def test_a_csv_that_is_none_is_told_by_its_cause(tmp_path, read, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "t.csv")
    assert str(caught.value).startswith(str(tmp_path / "t.csv")) and "\n" not in str(caught.value)
