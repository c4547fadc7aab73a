"""How docstrings of this project become pages: an extension of Griffe, which mkdocstrings reads sources with.

A parameter is written ``name : shape, unit and meaning``; its type stands in the signature. Griffe would print the text
after the colon as a type, so it becomes the description here. References as Sphinx writes them become code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_NAMED = ("Parameters", "Attributes")


class PlainDocstrings(griffe.Extension):
    """Rewrite every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """The docstring in the words of Griffe's NumPy parser."""
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text).replace("``", "`")
    lines = text.split("\n")
    done: list[str] = []
    section = ""
    i = 0
    while i < len(lines):
        if i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1].strip()):
            section = lines[i].strip()
            done += lines[i : i + 2]
            i += 2
        elif section in (*_NAMED, "Returns", "Yields") and lines[i].strip() and not lines[i].startswith(" "):
            item, i = _item(lines, i, whole=section not in _NAMED)
            done += _named(item) if section in _NAMED else [":", f"    {item}"]
        else:
            done.append(lines[i])
            i += 1
    return "\n".join(done)


def _item(lines: list[str], start: int, whole: bool) -> tuple[str, int]:
    """One entry as a line, and where the next one starts; ``whole``: up to the next blank line."""
    stop = start + 1
    while stop < len(lines) and lines[stop].strip() and (whole or lines[stop].startswith(" ")):
        stop += 1
    text = lines[start].strip()
    for line in map(str.strip, lines[start + 1 : stop]):
        ends = text.endswith((".", ":", ";", ","))
        text += f" {line}" if ends or not line[0].isupper() else f". {line}"
    return text, stop


def _named(item: str) -> list[str]:
    name, _, text = item.partition(" : ")
    return [name, f"    {text[:1].upper()}{text[1:]}"]
