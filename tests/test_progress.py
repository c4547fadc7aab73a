"""What is told while something long runs."""

from __future__ import annotations

import io
import json
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from labelwise import progress
from labelwise.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds since the start, set by the test."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal shows."""
    found = io.StringIO()

    def terminal(**_: Any) -> Console:
        return Console(file=found, force_terminal=True, width=100)

    monkeypatch.setattr(progress, "Console", terminal)
    return found


def test_the_time_left_counts_only_parts_done_now(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("cells") as found:
        found.start(6, before=2)
        found.report("a", worked=False)
        clock[0] = 60.0
        found.report("b", worked=True)
        clock[0] = 100.0
        found.report("c", worked=True)
        found.report("d", worked=False)
        clock[0] = 150.0
        found.report("e", worked=True)
        found.report("f", worked=True)
    assert capsys.readouterr().err.splitlines() == [
        "1 of 6: a",
        "2 of 6, about 0:03:00 left: b",
        "3 of 6, about 0:01:40 left: c",
        "4 of 6, about 0:01:40 left: d",
        "5 of 6, about 0:00:50 left: e",
        "6 of 6: f",
    ]


def test_plain_lines_come_now_and_then_and_at_the_end(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("features") as found:
        found.start(100, before=40)
        found.advance(40, worked=False)
        for second in range(1, 61):
            clock[0] = float(second)
            found.advance()
            found.show()
    assert capsys.readouterr().err.splitlines() == [
        "features: 41 of 100, about 0:00:59 left",
        "features: 61 of 100, about 0:00:39 left",
        "features: 81 of 100, about 0:00:19 left",
        "features: 100 of 100",
    ]


def test_a_note_replaces_the_count(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("seed 0 generation-1") as found:
        found.start(4)
        clock[0] = 30.0
        found.advance(2)
        found.show("epoch 1/2  train loss 0.500")
    assert capsys.readouterr().err == "seed 0 generation-1: epoch 1/2  train loss 0.500, about 0:00:30 left\n"


def test_another_total_begins_new_work(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("auto", "categories") as found:
        found.reach(2, 3)
        found.reach(3, 3)
        clock[0] = 100.0
        found.reach(1, 5)
        clock[0] = 110.0
        found.reach(5, 5)
    assert capsys.readouterr().err.splitlines() == [
        "auto: 2 of 3 categories, about 0:00:00 left",
        "auto: 3 of 3 categories",
        "auto: 1 of 5 categories, about 0:00:00 left",
        "auto: 5 of 5 categories",
    ]


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("cells", quiet=True) as found:
        found.start(2)
        found.report("a", worked=True)
        found.advance()
        found.show()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_below_the_lines(clock: list[float], screen: io.StringIO) -> None:
    with Progress("cells") as found:
        found.start(3)
        clock[0] = 60.0
        found.report("row [red], seed 0: top1 0.5", worked=True)
        found.show("epoch [1]")
    assert "1 of 3: row [red], seed 0: top1 0.5" in screen.getvalue()
    assert "about 0:02:00 left" in screen.getvalue() and "epoch [1]" in screen.getvalue()


def test_lines_for_machines(clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv(progress.AS_JSON, "1")
    with Progress("folds", "networks") as found:
        found.start(4)
        clock[0] = 30.0
        found.advance()
        found.show("epoch 1")
        found.report("b is done", worked=True)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all(datetime.fromisoformat(line.pop("time")).tzinfo for line in lines)
    common = {"work": "folds", "total": 4, "unit": "networks"}
    assert lines == [
        common | {"done": 1, "seconds_left": 90.0, "note": "epoch 1"},
        common | {"done": 2, "seconds_left": 30.0, "note": "b is done"},
    ]


def test_errors_for_machines(labelwise: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv(progress.AS_JSON, "")
    done = labelwise("--log-json", "train", "nowhere.yaml")
    [line] = done.err
    assert done.code == 1 and "nowhere.yaml" in json.loads(line)["error"]
