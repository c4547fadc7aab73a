"""Files of a run appear whole or not at all, also on a full disk."""

from __future__ import annotations

import errno
import json
import math
import os

import numpy as np
import pytest

from labelwise import runs
from labelwise.errors import RunError


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_up(file) -> None:
    file.write(b"half of a checkpoint")
    no_space()


def torch_fill_up(file) -> None:
    file.write(b"half")
    raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file")


@pytest.mark.parametrize("writer", [fill_up, torch_fill_up])
def test_a_full_disk_leaves_the_old_file(tmp_path, writer):
    path = tmp_path / "resume.pt"
    runs.atomic_write(path, b"good")
    with pytest.raises(RunError, match=r"resume\.pt: cannot be written .*written before is untouched"):
        runs.atomic_write(path, writer)
    assert path.read_bytes() == b"good"
    assert [file.name for file in tmp_path.iterdir()] == ["resume.pt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fills_up_on_flush_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "results.json"
    runs.write_json(path, {"a": 1})
    monkeypatch.setattr(runs.os, call, no_space)
    with pytest.raises(RunError, match="No space left"):
        runs.write_json(path, {"a": 2})
    assert runs.read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_first_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RunError) as caught:
        runs.atomic_write(tmp_path / "new" / "file", fill_up)
    assert "untouched" not in str(caught.value) and not list((tmp_path / "new").iterdir())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        runs.atomic_write(tmp_path / "file" / "x", b"")
    with pytest.raises(RunError, match="cannot be written"):
        runs.append_line(tmp_path / "file" / "x", {})


def test_numbers_that_json_cannot_say_become_null(tmp_path):
    value = {"a": math.nan, "b": [math.inf, 1.5, {"c": (-math.inf, np.float64("nan"))}], "d": "é"}
    runs.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text) == {"a": None, "b": [None, 1.5, {"c": [None, None]}], "d": "é"}
    runs.append_line(tmp_path / "x.jsonl", {"a": math.nan})
    runs.append_line(tmp_path / "x.jsonl", {"a": 1})
    assert runs.read_lines(tmp_path / "x.jsonl") == [{"a": None}, {"a": 1}]


def test_a_last_line_cut_off_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = [{"epoch": 1, "train": {"ce": 2.5}}, {"epoch": 2, "train": {"ce": 1.5}}]
    runs.write_lines(path, records)
    whole = path.read_bytes()
    for cut in range(len(whole.splitlines()[0]) + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert runs.read_lines(path) == records[:1]
    assert runs.read_lines(tmp_path / "none.jsonl") == []


def test_read_json_says_what_is_wrong(tmp_path):
    with pytest.raises(RunError, match="no such file; is this the folder of a run"):
        runs.read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(RunError, match="damaged"):
        runs.read_json(tmp_path / "x.json")


def test_fingerprint_depends_on_values_and_not_on_order():
    assert runs.fingerprint({"a": 1, "b": [1, 2]}) == runs.fingerprint({"b": [1, 2], "a": 1})
    assert runs.fingerprint({"a": 1}) != runs.fingerprint({"a": 2})
