"""What is not chosen is counted, and labels that are numbers are names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from labelwise.config import DataConfig
from labelwise.data.decode import Reading, decode_image, extremes, read_header
from labelwise.data.files import encode_labels
from labelwise.data.readers.folder import look_under
from labelwise.data.splits import prepare
from labelwise.data.stats import dataset_stats
from labelwise.errors import DataError
from labelwise.runs import write_json


def test_what_is_not_read_is_told_in_one_line(tmp_path, read, draw, folder_tree, capsys):
    root = folder_tree(tmp_path / "photos")
    some = next((root / "train").iterdir())
    for name in ("a.jfif", "b.svg", "c.svg", "README", ".hidden.png"):
        (some / name).touch()
    (some / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "linked").mkdir()
    (some / "more").symlink_to(tmp_path / "linked")
    draw(some / "@eaDir" / "thumb.png")
    (root / "eval").mkdir()
    samples = read(root)
    line = capsys.readouterr().err
    told = ".svg 2, hidden 2, folder eval/, without an ending 1, links to nothing 1, linked folders 1"
    assert line.startswith(f"{root}: left out: 8 (") and set(line[line.index("(") + 1 : -2].split(", ")) == set(
        told.split(", ")
    )
    assert samples.left_out["hidden"] == 2 and sum(samples.left_out.values()) == 8
    assert dataset_stats(prepare(samples, DataConfig()))["left_out"] == samples.left_out
    images, others = look_under(some)
    assert some / "a.jfif" in images and others[".svg"] == 2


def test_runs_within_the_data_are_no_samples(tmp_path, read, draw, folder_tree, capsys):
    root = folder_tree(tmp_path / "photos")
    before = read(root).ids.tolist()
    cls = next((root / "train").iterdir())
    for run in (root / "run", root / "train" / "run", cls / "run"):
        draw(run / "seed-0" / "crops" / "0.png")
        write_json(run / "run.json", {"schema": 1, "identity": {}})
    samples = read(root)
    assert samples.ids.tolist() == before and samples.left_out == {"runs of labelwise": 3}
    assert "left out: 3 (runs of labelwise 3)" in capsys.readouterr().err
    assert len(look_under(cls / "run")[0]) == 1  # it is what is asked for


def test_what_has_no_end_is_no_image(tmp_path, read, folder_tree):
    root = folder_tree(tmp_path / "photos")
    some = next((root / "train").iterdir())
    os.mkfifo(some / "pipe.png")
    (some / "endless.png").symlink_to("/dev/zero")
    assert read(root).left_out == {"no regular files": 2}
    for path in (some / "pipe.png", Path("/dev/zero")):
        with pytest.raises(DataError, match="no regular file"):
            decode_image(path, 3)
        assert read_header(path) is None and extremes(path, Reading()) is None


@pytest.mark.parametrize("numbers", [[1, 2], [1000007, 2000009], [9780000000000, 9790000000000], [1, 10**20]])
def test_codes_are_names(numbers):
    label, classes = encode_labels([str(number) for number in [*numbers, -1, numbers[0]]], None, "x.csv")
    assert label.tolist() == [0, 1, -1, 0] and classes == tuple(map(str, numbers))


def test_numbers_keep_their_order_and_their_place():
    label, classes = encode_labels(np.array([10, 2, 0, 1, *range(3, 10)]), None, "x.npz")
    assert classes == tuple(map(str, range(11))) and label[:4].tolist() == [10, 2, 0, 1]
    with pytest.raises(DataError, match="out of range"):
        encode_labels(["0", "2"], ("a", "b"), "x.csv")
