"""Every row of the table "Where images lie" of docs/how-to/data-in.md is made, read and compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from helpers.data_in import Checks, Row
from labelwise.data.dataset import Samples

check = Checks("Where images lie")


def _found(row: Row, names: list[str], files: list[str], **options: Any) -> Samples:
    row.draw(*files)
    path = row.write("t.csv", "path,label\n" + "".join(f"{name},class {i}\n" for i, name in enumerate(names)))
    samples = row.source(path, **options)
    assert row.file in names
    assert [path.relative_to(row.folder).as_posix() for path in samples.source.paths] == files
    return samples


PATHS = ["img/0.png", "img/1.png"]


for _what, _names in {
    "no ending": ["img/0", "img/1"],
    "an ending in other letters": ["img/0.PNG", "img/1.Png"],
    "backslashes": ["img\\0.png", "img\\1.png"],
    "a folder that the root is already in": ["set/img/0.png", "set/img/1.png"],
    "paths of another machine": ["/home/me/img/0.png", "/home/me/img/1.png"],
}.items():
    check(_what)(partial(_found, names=_names, files=PATHS))


@check("a folder that is missing before all paths")
def _(row: Row) -> None:
    _found(row, ["a/0.png", "b/1.png"], ["images/a/0.png", "images/b/1.png"])


@check("names of images in several folders")
def _(row: Row) -> None:
    _found(row, ["0", "1"], ["part_1/0.png", "part_2/1.png"])


@check("two images that could be meant")
def _(row: Row) -> None:
    row.refused(lambda: _found(row, ["0"], ["a/0.png", "b/0.png"]))
    _found(row, ["0"], ["a/0.png"], root=str(row.folder / "a"))


@check("an image that is not there")
def _(row: Row) -> None:
    row.refused(lambda: _found(row, ["img/0.png", "img/9.png"], PATHS))


@pytest.mark.parametrize("place", range(len(check.rows)), ids=lambda place: check.rows[place].what)
def test_the_row_is_true(place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.run(place, tmp_path, capsys)
