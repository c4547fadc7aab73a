"""How a report writes a number. Every function says nothing known as a dash."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

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


def percent2(value: Number) -> str:
    """Write a fraction in percent with two digits behind the point."""
    return percent(value, 2)


def points(value: Number, digits: int = 1) -> str:
    """Write a difference of fractions in percentage points with its sign; nothing is ever minus zero."""
    if value is None:
        return DASH
    written = f"{100 * value:+.{digits}f}"
    return written[1:] if not written.strip("+-0.") else written.replace("-", "−")


def points2(value: Number) -> str:
    """Write a difference in percentage points with two digits behind the point."""
    return points(value, 2)


def interval(ends: Ends, digits: int = 1) -> str:
    """Write the interval of a difference in percentage points."""
    return DASH if ends is None else f"{points(ends[0], digits)} to {points(ends[1], digits)}"


def count(value: Number) -> str:
    """Write a whole number with commas."""
    return f"{value:,.0f}" if value is not None else DASH


def duration(seconds: Number) -> str:
    """Write a time as a person would."""
    if seconds is None:
        return DASH
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


class Stat(Protocol):
    """Mean and standard deviation over seeds."""

    @property
    def mean(self) -> Number: ...
    @property
    def std(self) -> Number: ...


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
    kept = ""
    for letter in text:
        if columns(kept + letter) >= most:
            break
        kept += letter
    return kept.rstrip() + "…"
