"""Write the table of packages in ``licences.md`` again: ``python docs/licences.py``, in an environment of `make setup`.

Names come from ``pyproject.toml``, licences from the metadata of the installed packages. A package that is not
installed keeps the licence that the page has.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

PAGE = Path(__file__).with_name("licences.md")
HEAD = "| package | needed for | licence |\n|---|---|---|\n"


def packages() -> dict[str, str]:
    """What each package that labelwise names is needed for, in order of appearance; tools of development left out."""
    project = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text())["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name not in ("dev", "docs")}
    found: dict[str, str] = {}
    for use, wanted in {"every installation": project["dependencies"], **extras}.items():
        for requirement in wanted:
            name = re.split(r"[\[<>=!~ ]", requirement)[0]
            found.setdefault(name, use if use == "every installation" else f"extra `{use}`")
    return found


def licence_of(name: str) -> str | None:
    """SPDX expression, short text or classifier; None if the package is not installed."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return None
    if expression := told.get("License-Expression"):
        return str(expression)
    classes = [line.rpartition(":: ")[2] for line in told.get_all("Classifier") or [] if line.startswith("License ::")]
    short = (told.get("License") or "").strip()
    return ", ".join(classes) or (short if "\n" not in short and len(short) < 40 else "") or "see the package"


def rows(page: str) -> dict[str, str]:
    """The table of the page: the rest of each row by package."""
    return dict(re.findall(r"^\| `([\w.-]+)` \| (.*) \|$", page, re.MULTILINE))


def table(page: str) -> str:
    """The table as it should be."""
    before = rows(page)
    lines = []
    for name, use in packages().items():
        licence = licence_of(name) or before.get(name, "").rpartition(" | ")[2] or "see the package"
        lines.append(f"| `{name}` | {use} | {licence} |")
    return HEAD + "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """The page with its table made again."""
    start = page.index(HEAD.partition("\n")[0])
    end = page.index("\n\n", start) + 1
    return page[:start] + table(page) + page[end:]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
