"""One table, three writers."""

import io
import re

import pytest
from jinja2 import Environment, PackageLoader
from rich.console import Console

from helpers.pages import EVIL, Page
from labelwise.report.formats import Spread, percent, points
from labelwise.report.table import Cell, Column, Row, Table, markdown, terminal
from labelwise.results import Stat

COLUMNS = [Column("network", right=False), Column("test score", Spread(percent)), Column("gain", points, hint="why")]
ROWS = [
    Row([Cell("first", ["a note"]), Stat(mean=0.5, std=0.01), None], group="ours"),
    Row(["second", Stat(mean=0.6, std=None), -0.01], marked=True, group="ours"),
    Row([Cell("… 3 more", ["2 improved"])], group="others"),
    Row([Cell("third", tone="gain"), None, 0.02], quiet=True, group="others"),
]
TABLE = Table(COLUMNS, ROWS, title="scores", before="Said above.", after="said below")


def printed(table: Table, width: int = 60) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal(table))
    return console.export_text()


def on_page(table: Table) -> str:
    loader = PackageLoader("labelwise.report", "templates")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string('{% import "parts.html.j2" as parts %}{{ parts.table(table, "scores") }}').render(
        table=table
    )


def test_on_a_terminal():
    lines = [line.rstrip() for line in printed(TABLE).splitlines()]
    assert lines[0] == "scores" and lines[-1] == "said below"
    assert "★ second" in printed(TABLE) and "50.0 ± 1.0" in printed(TABLE) and "−1.0" in printed(TABLE)
    assert lines[6] == "" and lines[7].strip() == "… 3 more"  # a gap between the groups


def test_numbers_never_give_way_on_a_narrow_terminal():
    long = Table(COLUMNS, [Row(["n" * 80, Stat(mean=0.123, std=0.045), 0.1])])
    assert "12.3 ± 4.5" in printed(long, 34) and "+10.0" in printed(long, 34) and "…" not in printed(long, 34)


def test_as_markdown():
    assert markdown(TABLE).splitlines() == [
        "**scores**",
        "",
        "Said above.",
        "",
        "| network | test score | gain |",
        "|---|---:|---:|",
        "| first | 50.0 ± 1.0 | – |",
        "| second | 60.0 | −1.0 |",
        "| … 3 more |  | 2 improved |",
        "| third | – | +2.0 |",
    ]


def test_on_a_page():
    source = on_page(TABLE)
    page = Page(source)
    assert page.tags.count("tbody") == 2 and page.tags.count("tr") == 1 + 2 + 4
    assert 'class="std">± 1.0' in source and "<small" in source and "a note" in source
    assert source.count('class="marked"') == 1 and 'class="badge gain">third' in source
    assert 'colspan="3"' in source and 'title="why"' in source


@pytest.mark.parametrize("name", [EVIL, "two\nlines", "_a_ | [x](y)", ""])
def test_names_are_only_text(name):
    table = Table(COLUMNS, [Row([name, None, 0.01])])
    assert "<script" not in on_page(table)
    row = markdown(table).splitlines()[-1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 4 and not re.search(r"(?<!\\)[<\[_]", row)
    assert "+1.0" in printed(table, 100)
