"""The notebooks of the documentation run from top to bottom, and print and draw what their pages show."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "notebooks.py"))
PATHS = sorted(SCRIPT["FOLDER"].glob("*.ipynb"))


def outline(book: Any) -> list[list[tuple[str, list[str]]]]:
    """The output of each cell: its kind, and the first word of every line; numbers differ between machines."""
    found = []
    for cell in book.cells:
        outputs = [(out.get("name") or max(out.data), out.get("text", "")) for out in cell.get("outputs", [])]
        found.append([(kind, [line.split()[0] for line in text.splitlines() if line]) for kind, text in outputs])
    return found


def percents(book: Any, words: str) -> list[float]:
    """The percentages on the lines that contain ``words``."""
    printed = "".join(out.get("text", "") for cell in book.cells for out in cell.get("outputs", []))
    lines = [line for line in printed.splitlines() if words in line]
    return [float(number) for line in lines for number in re.findall(r"(\d+\.\d)%", line)]


def corrections_help(book: Any) -> bool:
    before, after = percents(book, "trained on")
    return after > before


def known_labels_help(book: Any) -> bool:
    first, before, after, again = percents(book, "mAP on test")
    return first == before < after < again


def closed_form_and_refitting_win(book: Any) -> bool:
    kernel_ridge, generations = percents(book, "kernel-ridge  ")[1], percents(book, "generation-")[1::2]
    first, refitted = percents(book, "assume-negative first"), percents(book, "assume-negative re-fitted")
    return kernel_ridge > max(generations) and all(a < b for a, b in zip(first, refitted, strict=True))


CLAIMS: dict[str, Callable[[Any], bool]] = {
    "frozen-backbone": closed_form_and_refitting_win,
    "partly-known": known_labels_help,
    "wrong-labels": corrections_help,
}


def test_every_notebook_keeps_its_output() -> None:
    assert [path.stem for path in PATHS] == list(CLAIMS)
    for path in PATHS:
        book = nbformat.read(path, as_version=4)
        assert CLAIMS[path.stem](book), f"{path.name}: its output does not say what its text says"
        assert not any(out.get("name") == "stderr" for cell in book.cells for out in cell.get("outputs", []))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_gives_the_output_that_is_shown(path: Path, tmp_path: Path) -> None:
    done = SCRIPT["run"](path, tmp_path)
    assert outline(done) == outline(nbformat.read(path, as_version=4))
    assert CLAIMS[path.stem](done)
