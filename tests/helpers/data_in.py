"""Rows of the tables of docs/how-to/data-in.md, and what their checks share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.data import data_config
from labelwise.data.dataset import Samples
from labelwise.data.notes import assumptions, tell
from labelwise.data.readers import read_samples
from labelwise.errors import LabelwiseError

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "data-in.md"
CELLS = re.compile(r"^\| (.*) \| `(.*)` \| (.*) \|$", re.MULTILINE)
REFUSED = re.compile(r"refused?s?: `([^`]*)`")
NAMES = [f"img/{i}.png" for i in range(4)]


@dataclass(frozen=True)
class Row:
    """A row of the page, the folder where its file is made, and what is printed on stderr."""

    what: str
    file: str
    becomes: str
    folder: Path = Path()
    printed: Callable[[], str] = str

    @property
    def path(self) -> Path:
        return self.folder / self.file

    def draw(self, *names: str, mode: str = "RGB") -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (4, 4)).save(self.folder / name)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def table(self, text: str | bytes, labels: list[int] | None = None, **options: Any) -> Samples:
        """Four images and a table of them, whose classes are ``labels``."""
        self.draw(*NAMES)
        samples = self.source(self.write(self.file, text), **options)
        assert samples.ids.tolist() == NAMES and samples.source.read(3).shape == (4, 4, 3)
        if labels is not None:
            assert samples.label.tolist() == labels and samples.classes == ("cat", "dog")
        return samples

    def source(self, path: Path, **options: Any) -> Samples:
        """What is read; what the page says is noted, told or refused is."""
        with assumptions() as notes:
            samples = read_samples(data_config({"source": str(path), **options}))
        odd = [
            note
            for note in notes
            if not re.search(r"its format is|columns: |images are read in|labels are those", note)
        ]
        assert bool(odd) == ("noted" in self.becomes), notes
        assert bool(self.printed()) == ("told" in self.becomes)
        return samples

    def refused(self, read: Callable[[], Any]) -> None:
        words = REFUSED.search(self.becomes)
        assert words is not None
        with pytest.raises(LabelwiseError, match=re.escape(words[1])) as caught:
            read()
        assert "\n" not in str(caught.value)


class Checks:
    """The checks of a section of the page, by what their rows begin with: ``@checks("semicolons")``."""

    def __init__(self, section: str) -> None:
        self.rows = [Row(*found) for found in CELLS.findall(sections()[section])]
        self._checks: dict[str, Callable[[Row], None]] = {}

    def __call__(self, what: str) -> Callable[[Callable[[Row], None]], Callable[[Row], None]]:
        def add(function: Callable[[Row], None]) -> Callable[[Row], None]:
            self._checks[what] = function
            return function

        return add

    def run(self, place: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The check of a row. Every row has one, in the order of the page."""
        assert [row.what for row in self.rows] == list(self._checks)
        tell.cache_clear()
        row = self.rows[place]
        self._checks[row.what](Row(row.what, row.file, row.becomes, folder, lambda: capsys.readouterr().err))


def sections() -> dict[str, str]:
    """The text of the page by its headings; of those that have a table."""
    found = re.split(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    return {title: text for title, text in zip(found[1::2], found[2::2], strict=True) if CELLS.search(text)}
