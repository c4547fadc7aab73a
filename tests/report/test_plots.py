"""Pictures of little, odd and much data; each has ids of its own and takes its colours from the page."""

import math

import pytest

from helpers.pages import Page
from labelwise.report.plots import (
    DotRow,
    Line,
    Panel,
    Point,
    Series,
    change_scatter,
    curve_plot,
    dot_plot,
    gain_scatter,
    generation_plot,
    panel_figure,
    panel_plot,
    reliability_plot,
)
from labelwise.report.svg import svg_file

STATUS = ["improved", "unchanged", "not_fitted"]


def sound(svg: str) -> None:
    assert svg.startswith("<svg") and svg.endswith("</svg>") and "nan" not in svg
    Page(svg)


@pytest.mark.parametrize("values", [[], [None], [0.5], [0.5, 0.5], [0.2, None, 0.4], [-1e9, 1e9]])
def test_lines(values):
    line = Line("$a\\b$", "test", range(1, len(values) + 1), values, [values, values])
    levels = [(f"control {i}", 0.5) for i in range(8)]
    sound(generation_plot("a", 'a "b" <c>', [line, line], levels))
    sound(curve_plot("b", "b", [line], (0, 1), [3.0]))


@pytest.mark.parametrize("size", [0, 1, 2, 40])
def test_dots_scatters_and_reliability(size):
    rows = [
        DotRow(f"${i}\\b <x>", STATUS[i % 3], i / 50, (0.0, 1.0) if i % 2 else None, ["+1", "9"]) for i in range(size)
    ]
    points = [Point(float(i**3), 0.5, STATUS[i % 3]) for i in range(size)]
    bins = [(i / 40, 0.5, 10 ** min(i, 15)) for i in range(size)]
    sound(dot_plot("a", 'a "b" <c>', [*rows, DotRow("gap")], "AP", ["gain", "pos."]))
    sound(dot_plot("a", "a", [DotRow("one", "loss", -0.1, (0.0, -0.1), ["−10"])] * size, "change"))
    sound(gain_scatter("b", "b", points, "x", "y"))
    sound(change_scatter("c", "c", [Point(0.5, 0.5, "improved")] * size, "x", "y"))
    sound(reliability_plot("d", "d", {"before": bins, "after": bins}))


@pytest.mark.parametrize("sideways", [True, False])
def test_panels(sideways):
    series = [Series(f"$row_{i}$", [0, 1], [0.1, 0.2 * i], [0.0, 0.1]) for i in range(12)]
    panels = [Panel(["$x$", "y"], series, "one", level=0.1), Panel(["x", "y"], series[:1], shares_scale=True)]
    sound(panel_plot("p", "p", [*panels, panels[0], None], 2, (6.0, 4.0), sideways))
    file = svg_file(panel_figure, panels, 2, (6.0, 2.0), sideways)
    assert file.startswith(b"<?xml") and b"$row_1$" in file
    assert svg_file(panel_figure, panels, 2, (6.0, 2.0), sideways) == file


def test_own_ids_and_colours_of_the_page():
    line = Line("猫 & <dog>", "test", [1, 2], [0.1, math.pi])
    one, two = (Page(generation_plot(key, "x", [line, line])) for key in ("one", "two"))
    assert not set(one.ids) & set(two.ids)
    svg = generation_plot("one", "x", [line, line])
    assert "var(--plot-test, #" in svg and "猫 &amp; &lt;dog&gt;" in svg
