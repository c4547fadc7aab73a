"""Every row of the table "Tables" of docs/how-to/data-in.md is made, read and compared."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from helpers.data import data_config
from helpers.data_in import NAMES, Checks, Row, sections
from labelwise.config import load_recipe
from labelwise.data.readers import read_samples
from labelwise.errors import ConfigError, DataError

check = Checks("Tables")

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
    listed = row.write("list.txt", "\n".join(f"{name} cat" for name in NAMES).encode("utf-16"))
    assert row.source(listed).classes == ("cat",)


@check("other encodings")
def _(row: Row) -> None:
    text = written(["caf\u00e9", *LABELS[1:]]).encode("cp1252")
    row.refused(lambda: row.table(text))
    assert row.table(text, encoding="cp1252").classes == ("caf\u00e9", "cat", "dog")
    with pytest.raises(DataError, match=r"not ascii .*; set another data.encoding"):
        row.table(text, encoding="ascii")
    with pytest.raises(ConfigError, match="'klingon' is no encoding"):
        load_recipe(None, [f"data.source={row.path}", "data.encoding=klingon"])


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


@check("a JSON object a line, also packed")
def _(row: Row) -> None:
    lines = [json.dumps({"file_name": name, "label": label}) for name, label in zip(NAMES, LABELS, strict=True)]
    row.table("\n".join(lines), CLASSES, image_column="file_name")
    packed = row.write("packed.jsonl.gz", gzip.compress("\n".join(lines).encode()))
    assert row.source(packed, image_column="file_name").label.tolist() == CLASSES


@check("an image and its class a line")
def _(row: Row) -> None:
    for separator in (" ", "\t", ", "):
        row.table("\n".join(f"{name}{separator}{label}" for name, label in zip(NAMES, LABELS, strict=True)), CLASSES)
    samples = row.table("\n".join(f"{name} golden retriever\n" for name in NAMES))
    assert samples.classes == ("golden retriever",)
    assert row.table("path\tlabel\n" + "".join(f"{name}\tcat\n" for name in NAMES)).classes == ("cat",)


@check("images alone, a line each")
def _(row: Row) -> None:
    row.refused(lambda: row.table("\n".join(NAMES)))


@check("a mark a category behind each image")
def _(row: Row) -> None:
    row.refused(lambda: row.table("\n".join(f"{name}\t0,1,0" for name in NAMES)))


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


@pytest.mark.parametrize("place", range(len(check.rows)), ids=lambda place: check.rows[place].what)
def test_the_row_is_true(place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.run(place, tmp_path, capsys)


def test_every_table_of_the_page_has_its_file() -> None:
    files = "".join(path.read_text() for path in Path(__file__).parent.glob("test_data_in_*.py"))
    assert [title for title in sections() if f'Checks("{title}")' not in files] == []
