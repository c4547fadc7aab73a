"""Make a page of a template, and write it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from labelwise.errors import RunError
from labelwise.report import summary


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
    """Write a page whole or not at all."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            file.write(page.encode("utf-8", errors="replace").decode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path
