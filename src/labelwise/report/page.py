"""Make a page of a template, and write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from labelwise.report import summary
from labelwise.runs import atomic_write


def render(template: str, context: dict[str, Any]) -> str:
    """A page of one of the templates beside this module."""
    environment = Environment(
        loader=PackageLoader("labelwise.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    environment.filters["pct"] = lambda value: "–" if value is None else summary.percent(value)
    environment.filters["points"] = lambda value: "–" if value is None else summary.points(value)
    environment.globals["cell"] = summary.cell
    environment.globals["parted"] = lambda stat, kind: summary.cell(stat, kind).partition(" ± ")
    return environment.get_template(template).render(context)


def write_page(path: Path, page: str) -> Path:
    """Write a page whole or not at all; what cannot be encoded, such as half a character in a name, is replaced.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    atomic_write(path, page.encode("utf-8", errors="replace"))
    return path
