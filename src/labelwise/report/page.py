"""Make a page of a template, and write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelwise.errors import RunError
from labelwise.report.formats import Ends, count, percent
from labelwise.runs import atomic_write, check_out_file

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Verdict:
    """The answer of a run.

    ``tone`` is ``gain``, ``loss``, ``mixed`` (the interval holds zero) or ``open`` (nothing to compare with).
    """

    tone: str
    badge: str
    sentence: str


@dataclass(frozen=True)
class Picture:
    """A picture with its heading and the sentence under it."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Tile:
    """A number that matters: its heading, what stands small beside it, what is said below, and an interval as a bar."""

    heading: str
    big: str
    beside: str = ""
    remark: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class Bar:
    """A difference with its interval, drawn on a scale of 0 to 100 with zero in the middle."""

    left: float
    width: float
    at: float

    @classmethod
    def of(cls, difference: float, ends: tuple[float, float]) -> Bar:
        """Return where the difference and the two ends of its interval lie."""
        reach = 1.15 * max(abs(difference), *map(abs, ends), 1e-6)
        left, right, at = (round(50 + 50 * value / reach, 2) for value in (*ends, difference))
        return cls(left, round(right - left, 2), at)


def tone_of(ends: Ends) -> str:
    """Return the tone of a verdict on a difference with this interval."""
    return "open" if ends is None else "gain" if ends[0] > 0 else "loss" if ends[1] < 0 else "mixed"


def check_page_file(path: Path, option: str = "--out") -> None:
    """Refuse to write a page to anything but a new file or an earlier page, before anything is computed.

    Raises
    ------
    RunError
        In one line.
    """
    if path.suffix != ".html":
        raise RunError(f"{option} {path}: the page is a file, whose name ends in .html")
    check_out_file(path, "a page", lambda text: text.lstrip().lower().startswith("<!doctype html"), option)


def write_page(path: Path, template: str, context: Mapping[str, Any]) -> Path:
    """Write the page of a template whole or not at all, and return its path.

    What no page can hold is replaced: half a character in a name, and characters that control.

    Raises
    ------
    RunError
        The page cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("labelwise.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"commas": count, "percent": percent}
    source = _CONTROL.sub("\ufffd", environment.get_template(template).render(context))
    atomic_write(path, source.encode("utf-8", errors="replace"))
    return path
