"""The page of licences names every package that labelwise asks for, and the licence that its metadata state."""

from __future__ import annotations

import re
import runpy
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
SCRIPT = runpy.run_path(str(PAGE.with_suffix(".py")))


def is_locked(name: str, locked: dict[str, str]) -> bool:
    """Whether the version of `make setup` is installed: metadata of others may word a licence in another way."""
    try:
        return version(name) == locked.get(name)
    except PackageNotFoundError:
        return False


def test_the_page_is_what_the_script_would_write():
    page, before = PAGE.read_text(), SCRIPT["rows"](PAGE.read_text())
    assert list(before) == list(SCRIPT["packages"]())
    again = SCRIPT["rows"](SCRIPT["renewed"](page))
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {"numpy", "torch", "timm"} <= locked.keys()
    for name in filter(lambda name: is_locked(name, locked), before):
        assert again[name] == before[name], f"{name}: run docs/licences.py"
    assert "see the package" not in page
