"""What the tests of reports share: a page read back, a hostile name, changes of a JSON file."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from labelwise.report.write import write_report

EVIL = "<script>alert('x')</script> $\\foo$ & \"q\""
VOID = {"meta", "img", "br", "hr", "link", "input", "use", "path"}


class Page(HTMLParser):
    """Collects what the tests look at and checks that tags are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, dict(attrs))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def _note(self, tag: str, found: dict[str, str | None]) -> None:
        self.tags.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        self.addresses.extend(str(found[key]) for key in ("src", "href", "xlink:href") if key in found)
        if tag == "img" or (tag == "svg" and found.get("role") == "img"):
            self.images.append(found)


def page_of(run: Path) -> str:
    path = write_report(run)
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


def edit(path: Path, change: Any) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
