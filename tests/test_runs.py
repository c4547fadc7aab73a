"""Files of a run appear whole or not at all, also on a full disk."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise import runs
from labelwise.errors import RunError
from labelwise.settings import Section


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
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match=r"deep\.json: damaged"):
        runs.read_json(tmp_path / "deep.json")


def test_fingerprint_depends_on_values_and_not_on_order():
    assert runs.fingerprint({"a": 1, "b": [1, 2]}) == runs.fingerprint({"b": [1, 2], "a": 1})
    assert runs.fingerprint({"a": 1}) != runs.fingerprint({"a": 2})


# The folder of a run


class Done:
    """Results of a kind that there is not."""

    def to_json(self) -> dict[str, int]:
        return {"schema": 1, "done": 1}


class Settings(Section):
    rate: float = 0.5


def start(out: Path, seed: int = 0, kind: str = "cft", **options: Any) -> runs.Run:
    return runs.start_run(out, kind, {"seed": seed, "size": (1, 2)}, Settings(), **options)


def test_a_run_is_started_continued_finished_and_found_finished(tmp_path):
    out = tmp_path / "run"
    run = start(out, facts={"data": {"name": "x"}})
    assert not run.finished
    facts = runs.read_json(out / "run.json")
    assert (
        facts["kind"] == "cft" and facts["identity"] == {"seed": 0, "size": [1, 2]} and facts["data"] == {"name": "x"}
    )
    assert {"schema", "version", "environment", "command"} <= facts.keys()
    assert (out / "config.yaml").read_text() == "rate: 0.5\n"
    (out / "weights").write_text("half")
    assert not start(out).finished  # it was killed
    run.finish(Done())
    assert start(out).finished and runs.read_json(out / "results.json") == {"schema": 1, "done": 1}


def test_a_run_that_was_killed_between_its_first_two_files_goes_on(tmp_path):
    start(tmp_path)
    (tmp_path / "config.yaml").unlink()
    start(tmp_path, seed=1)
    assert runs.read_json(tmp_path / "run.json")["identity"]["seed"] == 1 and (tmp_path / "config.yaml").exists()


def test_other_runs_and_other_files_are_refused(tmp_path):
    start(tmp_path / "run").finish(Done())
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(RunError, match=r"run: holds a run with another seed \(0, now 1\); give another --out"):
        start(tmp_path / "run", seed=1)
    with pytest.raises(RunError, match="run: holds a run of `labelwise cft`; give another --out"):
        start(tmp_path / "run", kind="refine")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".hidden").write_text("")
    (tmp_path / "mine" / "photo.jpg").write_text("")
    with pytest.raises(RunError, match=r"mine: is not empty and holds no run of labelwise \(it holds photo\.jpg\)"):
        start(tmp_path / "mine")
    with pytest.raises(RunError, match=r"photo\.jpg: is a file, expected a folder"):
        start(tmp_path / "mine" / "photo.jpg")
    (tmp_path / "mine" / "photo.jpg").unlink()
    start(tmp_path / "mine")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("gone", "loop"):
        with pytest.raises(RunError, match=f"{name}: is a link to nothing"):
            start(tmp_path / name)


def test_settings_may_change_as_long_as_nothing_was_made(tmp_path):
    start(tmp_path)
    start(tmp_path, seed=1)
    assert runs.read_json(tmp_path / "run.json")["identity"]["seed"] == 1
    (tmp_path / "weights").write_text("half")
    with pytest.raises(RunError, match="another seed"):
        start(tmp_path, seed=0)


def test_the_files_of_a_finished_run_stay_until_the_next_one_is_finished(tmp_path):
    start(tmp_path, facts={"call": 1}).finish(Done())
    run = start(tmp_path, facts={"call": 2})
    assert runs.read_json(tmp_path / "run.json")["call"] == 1
    run.finish(Done())
    assert runs.read_json(tmp_path / "run.json")["call"] == 2


def test_only_the_main_rank_writes(tmp_path):
    run = start(tmp_path / "run", writes=False)
    run.finish(Done())
    assert not (tmp_path / "run").exists()


def test_a_rank_that_looks_while_the_main_one_starts_the_run_is_not_refused(tmp_path, monkeypatch):
    visible = runs._visible

    def started_meanwhile(folder: Path) -> list[str]:
        monkeypatch.setattr(runs, "_visible", visible)
        start(folder)
        return visible(folder)

    monkeypatch.setattr(runs, "_visible", started_meanwhile)
    assert not start(tmp_path / "run", writes=False).finished


def test_what_a_kill_left_is_removed_anywhere_inside(tmp_path):
    start(tmp_path)
    (tmp_path / "seed-0" / "generation-1").mkdir(parents=True)
    half = [tmp_path / ".run.json.7.tmp", tmp_path / "seed-0" / "generation-1" / ".model.safetensors.7.tmp"]
    for file in half:
        file.write_text("half")
    (tmp_path / "networks" / ".abc.tmp").mkdir(parents=True)
    (tmp_path / "networks" / ".abc.tmp" / "row.json").write_text("half")
    (tmp_path / "seed-0" / "whole.tmp").write_text("whole")
    start(tmp_path)
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {"run.json", "config.yaml", "seed-0", "generation-1", "networks", "whole.tmp"}


@pytest.mark.parametrize("content", ["{", "[1]", '{"kind": "refine"}', "id,class"])
def test_a_file_of_another_kind_is_not_replaced(tmp_path, content):
    def is_list(text: str) -> bool:
        return isinstance(json.loads(text), list)

    runs.check_out_file(tmp_path / "new.json", "a list", is_list)
    (tmp_path / "x.json").write_text(content)
    if content == "[1]":
        runs.check_out_file(tmp_path / "x.json", "a list", is_list)
        return
    with pytest.raises(RunError, match=r"--out .*x\.json: exists and does not hold a list; give another --out"):
        runs.check_out_file(tmp_path / "x.json", "a list", is_list)
    with pytest.raises(RunError, match="is a folder, expected a file"):
        runs.check_out_file(tmp_path, "a list", is_list)
