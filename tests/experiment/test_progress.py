"""What is told while the cells of a table are trained."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from labelwise.experiment import progress
from labelwise.experiment.progress import CellProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds since the start, set by the test."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_what_is_left_counts_trained_cells_alone(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with CellProgress(total=6, finished=2) as found:
        found.show("a", trained=False)
        clock[0] = 60.0
        found.show("b", trained=True)
        clock[0] = 100.0
        found.show("c", trained=True)
        found.show("d", trained=False)
        clock[0] = 150.0
        found.show("e", trained=True)
        found.show("f", trained=True)
    assert capsys.readouterr().err.splitlines() == [
        "1 of 6: a",
        "2 of 6, some 0:03:00 left: b",
        "3 of 6, some 0:01:40 left: c",
        "4 of 6, some 0:01:40 left: d",
        "5 of 6, some 0:00:50 left: e",
        "6 of 6: f",
    ]


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with CellProgress(total=1, finished=0, quiet=True) as found:
        found.show("a", trained=True)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_below_the_cells(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()

    def terminal(**_: Any) -> Console:
        return Console(file=screen, force_terminal=True, width=100)

    monkeypatch.setattr(progress, "Console", terminal)
    with CellProgress(total=3, finished=0) as found:
        clock[0] = 60.0
        found.show("row [red], seed 0: top1 0.5", trained=True)
    assert "1 of 3: row [red], seed 0: top1 0.5" in screen.getvalue()
    assert "some 0:02:00 left" in screen.getvalue()
