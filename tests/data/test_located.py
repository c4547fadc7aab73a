"""Images are found where a table means them, and refused where it could mean several."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.config import TableConfig
from labelwise.data.notes import assumptions
from labelwise.data.readers.located import locate
from labelwise.errors import DataError


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., list[str]]:
    """``find(names, files)``: the files, below the folder, that the names of a table there mean."""

    def located(names: list[str], files: list[str], root: str = ".", **options: str) -> list[str]:
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        found = locate(tmp_path / "t.csv", tmp_path / root, names, TableConfig(channels=3, **options))
        return [path.relative_to(tmp_path).as_posix() for path in found.paths]

    return located


FILES = ["img/0.png", "img/1.jpg", "img/2.PNG"]


@pytest.mark.parametrize(
    ("names", "root", "assumed"),
    [
        (["img/0.png", "img/1.jpg", "img/2.PNG"], ".", ""),
        (["./img/0.png", "img//1.jpg", "img/../img/2.PNG"], ".", ""),
        (["img/0", "img/1", "img/2"], ".", ""),
        (["img\\0.png", "img\\1", ".\\img\\2.png"], ".", ""),
        ([" img/0.png ", "img/1.JPG\n", "img/2.png"], ".", ""),
        (["0.png", "1.jpg", "2.PNG"], "img", ""),
        (["0", "1", "2"], ".", "its images are found by their names in {}/img"),
        (["set/img/0.png", "set/img/1.jpg", "set/img/2.PNG"], ".", "set/ is dropped from the start of its paths"),
        (["set/img/0.png", "set\\img\\1", "set/img/2"], "img", "set/img/ is dropped from the start of its paths"),
        (["/home/me/img/0.png", "/home/me/img/1", "/home/me/img/2"], ".", "home/me/ is dropped from the start of"),
        (["C:\\me\\img\\0.png", "C:\\me\\img\\1", "C:\\me\\img\\2"], "img", "C:/me/img/ is dropped from the start of"),
    ],
)
def test_ways_to_write_a_path(tmp_path, find, names, root, assumed):
    with assumptions() as notes:
        located = find(names, FILES, root)
    assert list(map(posixpath.normpath, located)) == FILES
    assert len(notes) == bool(assumed) and all(assumed.format(tmp_path) in note for note in notes)


def test_the_folder_before_all_paths_is_added(find):
    assert find(["a/0.png", "b/1"], ["images/a/0.png", "images/b/1.png"]) == ["images/a/0.png", "images/b/1.png"]


def test_images_in_several_folders_are_found_by_their_names(find):
    """As those of a table of ids beside part_1 and part_2; thumbnails of file servers are none."""
    files = ["part_1/0.jpg", "part_2/deep/1.jpg", "@eaDir/0.jpg", ".cache/1.jpg"]
    assert find(["0", "1"], files) == ["part_1/0.jpg", "part_2/deep/1.jpg"]


@pytest.mark.parametrize(
    ("names", "files", "message"),
    [
        (["0", "1"], ["a/0.jpg", "b/0.png", "a/1.jpg"], r"t\.csv: 0 may be a/0\.jpg or b/0\.png in .*; set data\.root"),
        (["x/a/0.jpg"], ["a/0.jpg", "0.jpg"], r"x/a/0\.jpg may be 0\.jpg or a/0\.jpg in .*; set data\.root"),
        (["a/0.jpg"], ["x/a/0.jpg", "y/a/0.jpg"], r"a/0\.jpg may be x/a/0\.jpg or y/a/0\.jpg in .*; set data\.root"),
        (["a/0.jpg", "a/1.jpg"], ["a/0.jpg", "1.jpg"], r"a/1\.jpg is listed but not there; set data\.root"),
        (["a/0"], ["a/0.jpg", "a/0.png"], r"a/0 is listed but not there"),
        (["a/0.jpg", "a/0"], ["a/0.jpg"], r"t\.csv: by two names, the image '.*a/0\.jpg' is listed twice"),
        (["0.jpg"], [], r"0\.jpg is listed but not there"),
    ],
)
def test_what_is_not_clear_is_refused(find, names, files, message):
    with pytest.raises(DataError, match=message) as caught:
        find(names, files)
    assert "\n" not in str(caught.value)


def test_the_start_is_found_though_an_image_is_missing(find):
    names = ["set/img/9.png", "set/img/0.png"]
    assert find(names, ["img/0.png"], unreadable="skip") == ["set/img/9.png", "img/0.png"]
