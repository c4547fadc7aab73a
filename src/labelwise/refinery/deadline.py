"""When a run with a budget of time must end: what does not fit any more is not begun."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from labelwise.refinery.plan import Planned

SLACK = 0.05
"""Share of the budget by which its end may be missed."""


@dataclass
class Deadline:
    """Follows how long networks take beside what was expected, and says which may still be begun.

    Parameters
    ----------
    seconds : the budget
    expected : every network by name, as planned in seconds
    spent : seconds of the budget that are gone already
    fresh : whether no network of the run is there yet; then the first one is always allowed
    """

    seconds: float
    expected: Mapping[str, Planned]
    spent: float = 0.0
    fresh: bool = True
    skipped: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _planned: float = 0.0
    _taken: float = 0.0

    def elapsed(self) -> float:
        """Seconds of the budget that are gone."""
        return self.spent + time.monotonic() - self._started

    def allows(self, name: str, *then: str) -> bool:
        """Whether the network ``name``, and those after it that must not miss their time, end before the budget does.

        Expected seconds are multiplied by what networks took so far over what was expected of them.
        """
        if self._planned == 0 and self.fresh:
            return True
        factor = self._taken / self._planned if self._planned else 1.0
        needed = factor * sum(self.expected[one].cost for one in (name, *then) if one in self.expected)
        fits = self.elapsed() + needed <= self.seconds * (1 + SLACK)
        if not fits:
            self.skipped.append(name)
            print(f"{name}: skipped, the budget is spent", file=sys.stderr)
        return fits

    def took(self, name: str, seconds: float, epochs: int) -> None:
        """A network was trained for so many epochs, which may be fewer than planned, in so many seconds."""
        planned = self.expected.get(name)
        if planned is not None and planned.epochs:
            self._planned += planned.cost * epochs / planned.epochs
            self._taken += seconds
