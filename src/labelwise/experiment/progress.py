"""How far a table is: a bar below its cells on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class CellProgress:
    """Tells every finished cell, and the time that is left.

    Parameters
    ----------
    total : cells of the table
    finished : how many were finished before; they are only read again, so they tell nothing of the time that is left
    quiet : print nothing
    """

    def __init__(self, total: int, finished: int, quiet: bool = False) -> None:
        self._total, self._to_train, self._quiet = total, total - finished, quiet
        self._done = self._trained = 0
        self._started = time.monotonic()
        console = Console(file=sys.stderr)
        # Not rich's own estimate: it looks at the last half minute, and a cell may take ten.
        columns = (
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Progress(
            TextColumn("cells"), *columns, console=console, transient=True, disable=quiet or not console.is_terminal
        )
        self._task = self._bar.add_task("cells", total=total, left="")

    def __enter__(self) -> CellProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, words: str, *, trained: bool) -> None:
        """A cell is done, which was ``trained`` now or before; ``words`` name it and say what came out."""
        self._done += 1
        self._trained += trained
        left = self._left()
        self._bar.update(self._task, completed=self._done, left=left)
        if self._quiet:
            return
        place = f"{self._done} of {self._total}"
        if self._bar.disable:
            print(": ".join([", ".join(filter(None, [place, left])), words]), file=sys.stderr, flush=True)
        else:
            self._bar.console.print(f"{place}: {words}", markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        """From the mean time of the cells trained so far; empty where there is nothing to tell."""
        if not self._trained or self._trained == self._to_train:
            return ""
        seconds = (time.monotonic() - self._started) / self._trained * (self._to_train - self._trained)
        return f"some {timedelta(seconds=round(seconds))} left"
