"""How a report writes a number. Every function says nothing known as a dash."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from labelwise.results import Stat

DASH = "–"

Number = float | None
"""A finite number, or None for nothing known, as results have them."""

Ends = tuple[float, float] | None
"""The two ends of an interval, or None for nothing known."""


def decimal(value: Number, digits: int = 3) -> str:
    """Write a number as it is, such as ``0.123``."""
    return f"{value:.{digits}f}" if value is not None else DASH


def short(value: Number) -> str:
    """Write a number as it is: three digits behind the point below 10, one from there."""
    return decimal(value, 3 if value is None or abs(value) < 10 else 1)


def percent(value: Number, digits: int = 1) -> str:
    """Write a fraction in percent, without the sign."""
    return DASH if value is None else decimal(100 * value, digits)


percent2 = partial(percent, digits=2)


def points(value: Number, digits: int = 1) -> str:
    """Write a difference of fractions in percentage points with its sign; nothing is ever minus zero."""
    if value is None:
        return DASH
    written = f"{100 * value:+.{digits}f}"
    return written[1:] if not written.strip("+-0.") else written.replace("-", "−")


points2 = partial(points, digits=2)


def interval(ends: Ends, digits: int = 1) -> str:
    """Write the interval of a difference in percentage points."""
    return DASH if ends is None else f"{points(ends[0], digits)} to {points(ends[1], digits)}"


interval2 = partial(interval, digits=2)


def count(value: Number) -> str:
    """Write a whole number with commas."""
    return f"{value:,.0f}" if value is not None else DASH


def duration(seconds: Number) -> str:
    """Write a time as a person would."""
    for size, most, unit in ((1, 100, "s"), (60, 6000, "min")):
        if seconds is not None and seconds < most:
            return f"{seconds / size:.1f} {unit}"
    return DASH if seconds is None else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Spread:
    """Writes mean and deviation over seeds, both by ``write``; ``alone`` leaves the deviation out."""

    write: Callable[[Number], str]
    alone: bool = False

    def __call__(self, stat: Stat | None) -> str:
        if stat is None or stat.mean is None:
            return DASH
        mean = self.write(stat.mean)
        return mean if stat.std is None or self.alone else f"{mean} ± {self.write(stat.std)}"


def short_spread(stat: Stat | None) -> str:
    """Write mean and deviation as they are, both with the digits that suit the mean."""
    large = stat is not None and stat.mean is not None and abs(stat.mean) >= 10
    return Spread(partial(decimal, digits=1 if large else 3))(stat)


def several(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun, such as ``1 seed`` and ``3 seeds``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def columns(text: str) -> int:
    """Return the width of a text in columns: East Asian wide letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def shorten(text: str, most: int) -> str:
    """Cut a text that is wider than `most` columns and say so with an ellipsis."""
    if columns(text) <= most:
        return text
    widths = accumulate(columns(letter) for letter in text)
    kept = next(place for place, width in enumerate(widths) if width >= most)
    return text[:kept].rstrip() + "…"
