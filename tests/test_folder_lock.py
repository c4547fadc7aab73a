"""Two processes never write into one run folder; a process that has ended keeps nobody out."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from labelwise.config import ModelConfig
from labelwise.errors import RunError
from labelwise.export.network import export
from labelwise.folder_lock import LOCK, lock_folder
from labelwise.models import checkpoint
from labelwise.models.classifier import InputSpec
from labelwise.models.zoo import build
from labelwise.runs import start_run

HOLD = """
import sys, time
from pathlib import Path
from labelwise.folder_lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that is at work in ``tmp_path / "run"``."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_process_is_told_who_is_at_work(tmp_path, other):
    today = time.strftime("%Y-%m-")
    with pytest.raises(RunError, match=rf"run: another process .*process {other.pid} on \S+, since {today}.*--out"):
        start_run(tmp_path / "run", "refine", {})
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_a_killed_process_keeps_nobody_out(tmp_path, other):
    other.kill()
    other.wait()
    assert (tmp_path / "run" / LOCK).exists()
    assert start_run(tmp_path / "run", "refine", {}).lock is not None


def test_an_export_waits_for_nobody(tmp_path, other):
    classifier = build(ModelConfig(name="small-narrow"), ("cat", "dog"), InputSpec("image", 8, 1, (0.5,), (0.5,)))
    checkpoint.save(tmp_path / "model", classifier, {})
    with pytest.raises(RunError, match=rf"run: another process is at work in it \(process {other.pid}"):
        export(tmp_path / "model", tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
    other.kill()
    other.wait()
    export(tmp_path / "model", tmp_path / "run")
    assert not (tmp_path / "run" / LOCK).exists()


def test_ranks_that_only_look_take_no_lock(tmp_path, other):
    assert start_run(tmp_path / "run", "refine", {}, writes=False).lock is None


def test_one_process_starts_a_run_in_its_run_and_the_lock_ends_with_the_last(tmp_path):
    first = start_run(tmp_path, "refine", {})
    second = start_run(tmp_path, "refine", {})
    assert first.lock is second.lock
    del first
    assert (tmp_path / LOCK).exists()
    del second
    assert not (tmp_path / LOCK).exists()


def test_a_forked_process_does_not_end_the_lock_of_its_parent(tmp_path):
    lock = lock_folder(tmp_path)
    if (child := os.fork()) == 0:
        del lock
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK).exists()


def test_where_nothing_can_be_written_there_is_no_lock(tmp_path):
    (tmp_path / "file").touch()
    assert lock_folder(tmp_path / "file" / "run") is None
