"""A progress bar with ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

HEADLINES = {"top1": "top-1", "map": "mAP", "loss": "loss"}
"""What is shown of an epoch's scores: the first of these that they have."""

PLAIN_SECONDS = 20.0
"""Where there is no terminal, at most one line in so many seconds, besides the last epoch's."""


class Progress:
    """Follows the epochs of one network.

    Parameters
    ----------
    name : of the network in the chain
    quiet : print nothing
    """

    def __init__(self, name: str, quiet: bool = False) -> None:
        self._name, self._quiet = name, quiet
        self._console = Console(file=sys.stderr)
        self._bar: RichProgress | None = None
        self._last_line = 0.0
        self._epoch = self._epochs = 0

    def __enter__(self) -> Progress:
        if not self._quiet and self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
            )
            self._bar = RichProgress(*columns, console=self._console, transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Epoch ``epoch`` of ``epochs`` (1-based) begins, ``done`` of its ``steps`` lie behind."""
        self._epoch, self._epochs = epoch, epochs
        if self._bar is not None:
            if not self._bar.task_ids:
                self._bar.add_task(self._name, total=steps * epochs, note="")
            self._bar.update(self._bar.task_ids[0], completed=(epoch - 1) * steps + done)

    def step(self) -> None:
        """One batch is done."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def end_epoch(self, record: dict[str, Any]) -> None:
        """Show the record of the epoch."""
        note = f"epoch {self._epoch}/{self._epochs}  train {_headline(record['train'])}"
        if "select" in record:
            note += f"  select {_headline(record['select'])}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], note=note)
        elif not self._quiet:
            now = time.monotonic()
            if now - self._last_line > PLAIN_SECONDS or self._epoch == self._epochs:
                print(f"{self._name}: {note}", file=sys.stderr, flush=True)
                self._last_line = now


def _headline(scores: dict[str, float]) -> str:
    return next(f"{title} {scores[name]:.3f}" for name, title in HEADLINES.items() if name in scores)
