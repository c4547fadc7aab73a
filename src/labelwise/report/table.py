"""One table, and its three writers: a terminal, Markdown, a page (`templates/parts.html.j2`).

A cell is a value with the format of its column, so that no writer knows what it writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

TONES = {"gain": "green", "loss": "red", "mixed": "yellow"}
_SPECIAL = re.compile(r"([\\`*\[\]<>|$&]|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9]))")  # within a word, _ is only a letter


def plain(value: Any) -> str:
    """Write a text on one line."""
    return " ".join(str(value).split())


@dataclass(frozen=True)
class Column:
    """A column: its heading, how its values are written, and what the heading means (``hint``, on the page)."""

    title: str
    write: Callable[[Any], str] = plain
    right: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Cell:
    """A value with what the page says below it in small letters; with a ``tone`` it stands in a badge."""

    value: Any
    notes: Sequence[str] = ()
    tone: str | None = None


@dataclass(frozen=True)
class Row:
    """One row: a value or a `Cell` for each column.

    ``marked`` rows are the best of their kind, ``quiet`` ones step back. A row with fewer values than there are columns
    says something about all of them.
    """

    values: Sequence[Any]
    marked: bool = False
    quiet: bool = False
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table. ``before`` is said above it, ``after`` below it. Rows of one ``group`` stand together under its name.

    ``mark`` is what a page says beside the name of a marked row.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    title: str = ""
    before: str = ""
    after: str = ""
    mark: str = "best"

    def cells(self, row: Row) -> list[Cell]:
        """Return the cells of a row with their values as text."""
        cells = [value if isinstance(value, Cell) else Cell(value) for value in row.values]
        pairs = zip(self.columns, cells, strict=False)
        return [Cell(column.write(cell.value), cell.notes, cell.tone) for column, cell in pairs]

    def groups(self) -> Iterator[tuple[str, list[Row]]]:
        """Yield the rows in parts of one group each."""
        names = dict.fromkeys(row.group for row in self.rows)
        return ((name, [row for row in self.rows if row.group == name]) for name in names)


def terminal(table: Table) -> Group:
    """Return a table for a terminal: names give way where it is narrow, numbers never."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    found = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    star = "  " if any(row.marked for row in table.rows) else ""
    written = [(row, [cell.value for cell in table.cells(row)]) for row in table.rows]
    for place, column in enumerate(table.columns):
        title = column.title.replace(" ", "\n") if place else star + column.title
        texts = [*title.split("\n"), *(texts[place] for _, texts in written if place < len(texts))]
        widest = max(Text(text).cell_len for text in texts) if place else 8
        justify: Any = "right" if column.right and place else "left"
        found.add_column(Text(title), justify=justify, min_width=widest, no_wrap=place > 0, overflow="fold")
    for number, (row, texts) in enumerate(written):
        if number and row.group != written[number - 1][0].group:
            found.add_section()
        style = "bold" if row.marked else "dim" if row.quiet else ""
        styles = [style or TONES.get(cell.tone or "", "") for cell in table.cells(row)]
        texts[0] = ("★ " if row.marked else star) + texts[0]
        found.add_row(*(Text(text, style=style) for text, style in zip(texts, styles, strict=True)))
    # Not the title and caption of rich, which would be cut to the width of a narrow table.
    above, below = ([Text(said, style="italic")] if said else [] for said in (table.title, table.after))
    return Group(*above, found, *below)


def markdown(table: Table) -> str:
    """Return a table as Markdown, with its title and what is said above it; what is said below it is left out."""
    lines = [f"**{escape(table.title)}**", ""] if table.title else []
    lines += [escape(table.before), ""] if table.before else []
    lines += [_line([escape(column.title) for column in table.columns])]
    lines += ["|" + "|".join("---:" if column.right and place else "---" for place, column in enumerate(table.columns))]
    lines[-1] += "|"
    for row in table.rows:
        cells = table.cells(row)
        # What is written by a format of ours has no letters that Markdown could take for its own.
        pairs = zip(table.columns, cells, strict=False)
        texts = [escape(cell.value) if column.write is plain else cell.value for column, cell in pairs]
        gap = [""] * (len(table.columns) - len(texts))
        lines.append(_line([*texts, *gap[1:], *(["; ".join(cells[0].notes)] if gap else [])]))
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line, also inside a table."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def as_code(text: str) -> list[str]:
    """Return a command as Markdown shows it, in a list that is empty where there is none."""
    code = " ".join(text.split()).replace("`", "")
    return [f"`{code}`"] if code else []


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
