"""The picture of an experiment: its scores over the columns."""

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

LONG = 6
"""Letters of a column's name from which on they would run into each other."""

Stat = dict[str, Any] | None


def experiment_picture(results: dict[str, Any]) -> bytes:
    """An SVG file of its own."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "labelwise", "svg.fonttype": "none"}):
        _figure(results).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def experiment_svg(results: dict[str, Any]) -> str:
    """The same as an element of a page."""
    return svg_element(_figure(results), "scores", f"{metric_of(results)} of every row over the columns")


def _figure(results: dict[str, Any]) -> Figure:
    """The score of every row over the columns: of an axis a panel a head, on one scale, and one a further score."""
    heads, axes = results["heads"], results["axis"]
    kinds = [*heads, *results["also"]]
    across = max(len(heads), min(ACROSS, len(kinds)))
    down = math.ceil(len(kinds) / across)
    figure = Figure(figsize=(3.1 * across + 1.9, 3.0 * len(axes) * down + 0.4), layout="constrained")
    panels = figure.subplots(len(axes) * down, across, squeeze=False)
    for axis, of_axis in enumerate(axes):
        own = panels[axis * down : (axis + 1) * down].ravel().tolist()
        columns = [column for column in columns_of(results) if column.axis == axis and not column.is_mean]
        for number, (panel, kind) in enumerate(zip(own, kinds, strict=False)):
            is_head = number < len(heads)
            _draw(panel, columns, results["rows"], *(_of_head(kind) if is_head else _of_also(kind)))
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
    return "base", lambda entry: entry["also"].get(name), 100 if is_percent(name) else 1


def _draw(
    panel: Axes, columns: list[Column], rows: list[str], head: str, score: Callable[[Entry], Stat], factor: int
) -> None:
    """Lines over several columns; of a single one, points side by side."""
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, row in enumerate(rows):
        entries = [(x, entry) for x, column in enumerate(columns) if (entry := column.entry(row, head))]
        found = [(x, stat) for x, entry in entries if (stat := score(entry)) and stat["mean"] is not None]
        shift = 0.0 if len(columns) > 1 else (i - (len(rows) - 1) / 2) / len(rows)
        panel.errorbar(
            [x + shift for x, _ in found],
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
    names = [column.value or column.title for column in columns]
    panel.set_xticks(range(len(columns)), names)
    if len(names) > 1 and max(map(len, names)) > LONG:
        panel.set_xticks(range(len(columns)), names, rotation=25, ha="right")
    panel.tick_params(colors=COLOURS["ink"])
    margin = 0.2 if len(columns) > 1 else 0.5
    panel.set_xlim(-margin, len(columns) - 1 + margin)
    panel.grid(axis="y", color=COLOURS["grid"], alpha=0.3, linewidth=0.8)
    for side in panel.spines.values():
        side.set_color(COLOURS["grid"])
    panel.spines[["top", "right"]].set_visible(False)
