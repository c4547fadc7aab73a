"""Half-written files of killed processes."""

from __future__ import annotations

import os
import subprocess

from labelwise.half_files import _place, half_of
from labelwise.runs import atomic_write


def test_what_a_kill_left_is_removed_when_a_file_is_written_and_no_writer_at_work_loses_its_file(tmp_path):
    with subprocess.Popen(["true"]) as ended:
        pass
    left = f".scores.json.{_place()}-{ended.pid}-0a1b2c3d.tmp"
    kept = {
        f".scores.json.{_place()}-{os.getppid()}-0a1b2c3d.tmp",
        f".scores.json.00000000-{ended.pid}-0a1b2c3d.tmp",  # of another machine
        f".scores.json.{_place()}-mine-0a1b2c3d.tmp",
        ".scores.json.tmp",
    }
    assert half_of(tmp_path / "scores.json").name.startswith(f".scores.json.{_place()}-{os.getpid()}-")
    for name in (left, *kept):
        (tmp_path / name).touch()
    atomic_write(tmp_path / "scores.json", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == kept | {"scores.json"}
