"""The picture of an experiment: lines over columns that are numbers, dots row by row where they are not."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labelwise.report.experiment_tables import Column, Entry, also_title, columns_of, is_percent, metric_of
from labelwise.report.svg import COLOURS, svg_element

ACROSS = 3
"""Panels side by side, unless there are more heads."""

DOTS_ACROSS = 4
"""The same of pictures with names on the left."""

Stat = dict[str, Any] | None


def experiment_picture(results: dict[str, Any]) -> bytes:
    """An SVG file of its own."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "labelwise", "svg.fonttype": "none", "text.parse_math": False}):
        _figure(results).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def experiment_svg(results: dict[str, Any]) -> str:
    """The same as an element of a page."""
    with mpl.rc_context({"text.parse_math": False}):  # a row may be called anything, with dollars too
        return svg_element(_figure(results), "scores", f"{metric_of(results)} of every row over the columns")


def _figure(results: dict[str, Any]) -> Figure:
    """Lines need columns that have an order: those of a key with numbers."""
    values = [value for axis in results["axis"] for value in axis["values"]]
    ordered = all(len(axis["values"]) > 1 for axis in results["axis"])
    if ordered and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return _lines(results)
    return _dots(results)


def _lines(results: dict[str, Any]) -> Figure:
    """The score of every row over the columns: of an axis a panel a head, on one scale, and one a further score."""
    heads, axes = results["heads"], results["axis"]
    kinds = [*heads, *results["extra"]]
    across = max(len(heads), min(ACROSS, len(kinds)))
    down = math.ceil(len(kinds) / across)
    figure = Figure(figsize=(3.1 * across + 1.9, 3.0 * len(axes) * down + 0.4), layout="constrained")
    panels = figure.subplots(len(axes) * down, across, squeeze=False)
    for axis, of_axis in enumerate(axes):
        own = panels[axis * down : (axis + 1) * down].ravel().tolist()
        columns = [column for column in columns_of(results) if column.axis == axis and not column.is_mean]
        for number, (panel, kind) in enumerate(zip(own, kinds, strict=False)):
            is_head = number < len(heads)
            _draw_lines(panel, columns, results["rows"], *(_of_head(kind) if is_head else _of_also(kind)))
            panel.set_xlabel(of_axis["title"] or of_axis["key"] or "", color=COLOURS["ink"])
            if is_head and number > 0:
                panel.sharey(own[0])
            title = (kind if len(heads) > 1 else "") if is_head else also_title(kind)
            panel.set_title(title if axis == 0 or not is_head else "", fontsize=10, color=COLOURS["ink"])
        own[0].set_ylabel(f"{metric_of(results)} on test, %", color=COLOURS["ink"])
        for panel in own[len(kinds) :]:
            panel.set_visible(False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False, labelcolor=COLOURS["ink"])
    return figure


def _of_head(head: str) -> tuple[str, Callable[[Entry], Stat], int]:
    return head, lambda entry: entry["test"], 100


def _of_also(name: str) -> tuple[str, Callable[[Entry], Stat], int]:
    return "base", lambda entry: entry["extra"].get(name), 100 if is_percent(name) else 1


def _draw_lines(
    panel: Axes, columns: list[Column], rows: list[str], head: str, score: Callable[[Entry], Stat], factor: int
) -> None:
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, row in enumerate(rows):
        entries = [(x, entry) for x, column in enumerate(columns) if (entry := column.entry(row, head))]
        found = [(x, stat) for x, entry in entries if (stat := score(entry)) and stat["mean"] is not None]
        panel.errorbar(
            [x for x, _ in found],
            [factor * stat["mean"] for _, stat in found],
            [factor * (stat["std"] or 0) for _, stat in found],
            label=row,
            color=colours[i % len(colours)],
            marker="os^D"[i // len(colours) % 4],
            linestyle=("-", "--", ":", "-.")[i // len(colours) % 4],
            markersize=4,
            linewidth=1.4,
            elinewidth=0.8,
        )
    panel.set_xticks(range(len(columns)), [column.value or column.title for column in columns])
    panel.tick_params(colors=COLOURS["ink"])
    panel.set_xlim(-0.2, len(columns) - 0.8)
    panel.grid(axis="y", color=COLOURS["grid"], alpha=0.3, linewidth=0.8)


def _dots(results: dict[str, Any]) -> Figure:
    """A line a row, a panel a column; of a single column one a further score, too. Heads share a panel."""
    columns = columns_of(results)
    panels: list[tuple[str, Column, str]] = [(column.title, column, "") for column in columns]
    if len(columns) == 1:
        panels = [("", columns[0], ""), *((also_title(name), columns[0], name) for name in results["extra"])]
    down = math.ceil(len(panels) / DOTS_ACROSS)
    across = math.ceil(len(panels) / down)
    high = 0.17 * len(results["rows"]) * max(1, 0.6 * len(results["heads"])) + 0.8
    figure = Figure(figsize=(2.3 * across + 2.4, high * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=True).ravel().tolist()
    for panel, (title, column, also) in zip(grid, panels, strict=False):
        _draw_dots(panel, results, column, also)
        panel.set_title(title, fontsize=8, color=COLOURS["ink"])
        if not also:
            panel.set_xlabel(f"{metric_of(results)} on test, %", fontsize=8, color=COLOURS["ink"])
    for panel in grid[len(panels) :]:
        panel.set_visible(False)
    if len(results["heads"]) > 1:
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False, labelcolor=COLOURS["ink"])
    return figure


def _draw_dots(panel: Axes, results: dict[str, Any], column: Column, also: str) -> None:
    """Rows from above; the thin line is where the reference row is."""
    rows, heads = results["rows"], ["base"] if also else results["heads"]
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, head in enumerate(heads):
        name, score, factor = _of_also(also) if also else _of_head(head)
        entries = [(y, entry) for y, row in enumerate(rows) if (entry := column.entry(row, name))]
        found = [(y, stat) for y, entry in entries if (stat := score(entry)) and stat["mean"] is not None]
        shift = (i - (len(heads) - 1) / 2) * 0.8 / len(heads)
        panel.errorbar(
            [factor * stat["mean"] for _, stat in found],
            [y + shift for y, _ in found],
            xerr=[factor * (stat["std"] or 0) for _, stat in found],
            label=head,
            color=colours[i % len(colours)],
            fmt="o",
            markersize=4,
            elinewidth=1.0,
        )
        if i == 0 and (own := [stat for y, stat in found if rows[y] == results["reference"]]):
            panel.axvline(factor * own[0]["mean"], color=COLOURS["ink"], linewidth=0.8, alpha=0.6)
    panel.set_yticks(range(len(rows)), rows)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.tick_params(colors=COLOURS["ink"], labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(COLOURS["ink"])
    panel.grid(color=COLOURS["grid"], alpha=0.3, linewidth=0.8)
