"""How far a piece of work is: a bar on a terminal, plain lines elsewhere, and the time that is left."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from labelwise import interrupts

AS_JSON = "LABELWISE_LOG_JSON"
"""Environment variable: lines for machines instead of bars and words. The processes of a command inherit it."""

PLAIN_SECONDS = 20.0
"""Where there is no terminal: the least time between two lines. The last line is always printed."""


class Progress:
    """Follows one piece of work, which consists of many equal parts.

    Parameters
    ----------
    name : of the work
    unit : what the parts are, such as ``categories``
    quiet : print nothing
    """

    def __init__(self, name: str, unit: str = "", quiet: bool = False) -> None:
        self._name, self._unit, self._quiet = name, unit, quiet
        self._total = self._before = self._done = self._worked = 0
        self._started = time.monotonic()
        self._last_line = -PLAIN_SECONDS
        self._json = bool(os.environ.get(AS_JSON))
        console = Console(file=sys.stderr)
        # Not rich's own estimate of what is left: it looks at the last half minute, and a part may take ten.
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Bar(
            *columns, console=console, transient=True, disable=quiet or self._json or not console.is_terminal
        )
        self._task = self._bar.add_task(name, total=None, note=unit, left="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, total: int, before: int = 0) -> None:
        """Work of ``total`` parts begins. An earlier run did ``before`` of them, which take no time now."""
        self._total, self._before, self._done, self._worked = total, before, 0, 0
        self._started = time.monotonic()
        self._bar.update(self._task, total=total, completed=0)

    def advance(self, count: int = 1, *, worked: bool = True) -> None:
        """``count`` more parts are done; ``worked`` is false for those that an earlier run did."""
        interrupts.check()
        self._done += count
        self._worked += count if worked else 0
        self._bar.update(self._task, completed=self._done, left=self._left())

    def show(self, note: str = "") -> None:
        """Say how it goes: beside the bar, or in a line now and then."""
        self._bar.update(self._task, note=note or self._unit)
        now = time.monotonic()
        if self._bar.disable and (now - self._last_line >= PLAIN_SECONDS or self._done == self._total):
            self._last_line = now
            words = note or f"{self._done} of {self._total} {self._unit}".rstrip()
            self._print(f"{self._name}: " + ", ".join(filter(None, [words, self._left()])), note)

    def reach(self, done: int, total: int) -> None:
        """``done`` of ``total`` parts lie behind; fewer than before, or another total, begins new work."""
        if total != self._total or done < self._done:
            self.start(total)
        self.advance(done - self._done)
        self.show()

    def report(self, words: str, *, worked: bool) -> None:
        """One more part is done, and a line that stays says in ``words`` what came out."""
        self.advance(worked=worked)
        place = f"{self._done} of {self._total}"
        if self._bar.disable:
            self._print(", ".join(filter(None, [place, self._left()])) + f": {words}", words)
        else:
            self._bar.console.print(f"{place}: {words}", markup=False, highlight=False, soft_wrap=True)

    def _print(self, line: str, note: str) -> None:
        if self._quiet:
            return
        if self._json:
            seconds = self._seconds_left()
            line = json_line(
                work=self._name,
                done=self._done,
                total=self._total,
                unit=self._unit,
                seconds_left=None if seconds is None else round(seconds, 1),
                note=note,
            )
        print(line, file=sys.stderr, flush=True)

    def _left(self) -> str:
        seconds = self._seconds_left()
        return "" if seconds is None else f"about {timedelta(seconds=round(seconds))} left"

    def _seconds_left(self) -> float | None:
        """From the mean time of the parts done so far; None where nothing is known, or nothing is left."""
        rest = self._total - self._before - self._worked
        if not self._worked or rest <= 0:
            return None
        return (time.monotonic() - self._started) / self._worked * rest


def json_line(**content: Any) -> str:
    """One line for machines, with the time."""
    return json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **content}, ensure_ascii=False)
