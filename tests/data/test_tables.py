"""Tables as spreadsheets and scripts write them."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from labelwise.data import tables
from labelwise.data.notes import assumptions
from labelwise.data.tables import read_header, read_table
from labelwise.errors import DataError

ROWS = [["a.png", "caf\u00e9"], ["b.png", ""], ["c d.png", "x, y"]]


def written(separator: str = ",", newline: str = "\n", header: str = "path{}label") -> str:
    cells = [[f'"{cell}"' if separator in cell or "," in cell else cell for cell in row] for row in ROWS]
    return newline.join([header.format(separator), *(separator.join(row) for row in cells)]) + newline


@pytest.mark.parametrize(
    ("name", "content", "assumed"),
    [
        ("t.csv", written().encode(), []),
        ("t.csv", written().encode("utf-8-sig"), []),
        ("T.CSV", written(newline="\r\n").encode(), []),
        ("t.csv", written(newline="\r").encode(), []),
        ("t.csv", ("\n \n" + written(header=" path{} label ")).encode(), []),
        ("t.csv", written(";").encode(), ["its columns are separated by ;"]),
        ("t.csv", ("sep=;\r\n" + written(";", "\r\n")).encode("utf-8-sig"), ["its columns are separated by ;"]),
        ("t.csv", written("|").encode(), ["its columns are separated by |"]),
        ("t.tsv", written("\t").encode(), ["its columns are separated by tabs"]),
        (
            "t.csv",
            written("\t").encode("utf-16"),
            ["its text is UTF-16, by its first two bytes", "its columns are separated by tabs"],
        ),
        ("t.csv.gz", gzip.compress(written().encode(), mtime=0), []),
        ("t.tsv.gz", gzip.compress(written("\t").encode(), mtime=0), ["its columns are separated by tabs"]),
    ],
)
def test_every_way_of_writing_has_the_same_cells(tmp_path, name, content, assumed):
    path = tmp_path / name
    path.write_bytes(content)
    with assumptions() as notes:
        frame = read_table(path)
    assert frame.columns.tolist() == read_header(path) == ["path", "label"]
    assert frame.to_numpy().tolist() == ROWS
    assert notes == [f"{path}: {note}" for note in assumed]


def test_objects_line_by_line(tmp_path, read, draw):
    draw(tmp_path / "0.png"), draw(tmp_path / "1.png"), draw(tmp_path / "2.png")
    lines = ['{"file_name": "0.png", "tags": ["a", "b"], "n": 1}', "", '{"file_name": "1.png", "tags": []}']
    (tmp_path / "metadata.jsonl").write_text("\n".join([*lines, '{"file_name": "2.png"}']))
    assert read_header(tmp_path / "metadata.jsonl") == ["file_name", "tags", "n"]
    samples = read(tmp_path / "metadata.jsonl", image_column="file_name", label_column="tags")
    assert samples.classes == ("a", "b")
    np.testing.assert_array_equal(samples.table.values, [[1, 1], [0, 0], [np.nan, np.nan]])
    samples = read(tmp_path / "metadata.jsonl", image_column="file_name", label_column="n")
    assert samples.label.tolist() == [0, -1, -1]


def test_quoted_newlines_stay_within_their_cell(tmp_path):
    (tmp_path / "t.csv").write_text('"path","two\nlines"\na.png,"one\n\ntwo"\nb.png,x\n')
    assert read_header(tmp_path / "t.csv") == ["path", "two\nlines"]
    assert read_table(tmp_path / "t.csv")["two\nlines"].tolist() == ["one\n\ntwo", "x"]


def test_a_large_table_is_read_part_by_part_with_the_same_cells(tmp_path, monkeypatch):
    """Cells of few kinds are held once each; kinds may appear late, and a part may have one kind only."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(1500)], "a": rng.choice(["1", "0", ""], 1500), "b": "x"})
    frame.loc[1400:, "b"] = "late"
    frame.to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setattr(tables, "_CHUNK", 400)
    found = read_table(tmp_path / "t.csv", ["b", "path", "a", "absent"])
    assert [isinstance(kind, pd.CategoricalDtype) for kind in found.dtypes] == [False, True, True]
    pd.testing.assert_frame_equal(found.astype(str), frame.astype(str))
    assert read_table(tmp_path / "t.csv", ["absent"]).shape == (1500, 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "empty, no line in it"),
        ("t.csv", "path,label\na,caf\u00e9\n".encode("latin-1"), "not UTF-8 .*; save it as UTF-8"),
        ("t.csv", b"path,label\na,b,\n", "more values than its header has names, such as by a comma at their end"),
        ("t.csv", b"path,label\na,b\nc,d,e\n", "cannot be read as a table .*Expected 2 fields in line 3, saw 3"),
        ("t.csv", b'path,label\na,"b\n', "cannot be read as a table"),
        ("t.csv.gz", b"path,label\na,b\n", "cannot be read as a table .*Not a gzip"),
        ("t.csv.gz", gzip.compress(written().encode(), mtime=0)[:-12], "cannot be read as a table"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', r"a line holds '\[1\]', expected an object"),
        ("t.jsonl", b'{"a": 1\n', "cannot be read as a table"),
        ("t.parquet", b"PAR1", "cannot be read as a table"),
        (
            "t.xlsx",
            b"PK",
            r"not a table; understood are \.csv, \.tsv, \.csv\.gz, \.tsv\.gz, \.jsonl, \.jsonl\.gz, \.parquet, \.txt",
        ),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_table(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)
