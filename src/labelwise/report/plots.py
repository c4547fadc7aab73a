"""Pictures of numbers: pure functions from data to an SVG element.

Every plot takes ``key``, unique on its page, and ``alt``, what a reader who cannot see the picture is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from labelwise.report import svg
from labelwise.report.formats import columns, count, shorten
from labelwise.report.svg import COLOURS, INK, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"fit": "^", "select": "s", "test": "o"}
# Colour and shape both tell the status of a category, so that neither is needed alone.
STATUS = {"improved": ("fit", "o"), "unchanged": ("ink", "D"), "not_fitted": ("select", "s")}
LOG_FROM = 30


@dataclass(frozen=True)
class Line:
    """One line: ``x`` and ``y`` of one length, None where nothing was measured; ``runs`` is the same for every seed."""

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float | None]
    runs: Sequence[Sequence[float | None]] = ()


@dataclass(frozen=True)
class DotRow:
    """A named dot with its interval; a row without a value is a gap that says its name. ``beside`` stands right of it.

    ``style`` is a status of a category, or the name of a colour.
    """

    name: str
    style: str = "ink"
    value: float | None = None
    interval: tuple[float, float] | None = None
    beside: Sequence[str] = ()


@dataclass(frozen=True)
class Point:
    """One category in a scatter plot."""

    x: float
    y: float
    status: str


@dataclass(frozen=True)
class Series:
    """One label of a panel: values with their deviations at places 0, 1, 2, ... of the panel."""

    label: str
    places: Sequence[float]
    values: Sequence[float]
    errors: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One of several plots side by side; ``names`` says what the places are; ``level`` is a thin line at a value."""

    names: Sequence[str]
    series: Sequence[Series]
    title: str = ""
    place_label: str = ""
    value_label: str = ""
    level: float | None = None
    shares_scale: bool = False


@drawn
def generation_plot(
    lines: Sequence[Line],
    levels: Sequence[tuple[str, float]] = (),
    *,
    write: Callable[[float], str] | None = None,
    width: float = 5.9,
    height: float = 4.0,
) -> Figure:
    """Draw one number per generation, with ``levels`` (name, value) dashed over the whole width and named beside it.

    ``write`` says what stands at the axis; without it, fractions are written in percent. Sides are in inches.
    """
    write = write or svg.percent_tick
    names = [f"{shorten(name, 18)} {write(round(value, 3))}".strip() for name, value in levels]
    right = 0.35 + 0.076 * max(map(len, names)) if names else 0.2
    top = 0.1 + (0.27 * math.ceil(len(lines) / 3) if len(lines) > 1 else 0)
    figure, axes = svg.canvas(width, height, 0.55, 0.5, right, top)
    for line in lines:
        colour = COLOURS[line.colour]
        for run in line.runs if len(line.runs) > 1 else ():
            axes.plot(line.x, _gaps(run), color=colour, linewidth=0.8, alpha=0.4)
        look: dict[str, Any] = {"linewidth": 2.2, "marker": MARKERS.get(line.colour, "o"), "markersize": 5.5}
        axes.plot(line.x, _gaps(line.y), color=colour, label=shorten(line.label, 26), **look)
    values = [v for line in lines for run in (line.y, *line.runs) for v in run if v is not None]
    limits = svg.axis_limits([*values, *(value for _, value in levels)], room=0.08, least=0.02)
    axes.set_ylim(*limits)
    ticks = sorted({float(value) for line in lines for value in line.x}) or [1.0]
    axes.set_xlim(ticks[0] - 0.3, ticks[-1] + 0.3)
    axes.set_xticks(ticks[:: max(1, math.ceil(len(ticks) / 12))])
    svg.set_axis(axes.xaxis, "generation", lambda value: f"{value:g}")
    svg.set_axis(axes.yaxis, "", write)
    _levels(axes, [value for _, value in levels], names, limits)
    if len(lines) > 1:
        svg.legend_above(axes)
    return figure


@drawn
def curve_plot(lines: Sequence[Line], limits: tuple[float, float], kept: Sequence[float] = ()) -> Figure:
    """Draw the learning curves of one network, a thin line a seed; ``kept`` marks the epochs that were kept."""
    figure, axes = svg.canvas(2.7, 2.05, 0.5, 0.45, 0.1, 0.1)
    for epoch in kept:
        axes.axvline(epoch, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    for line in lines:
        look: dict[str, Any] = {"linewidth": 1.5, "alpha": 0.85, "marker": "o" if len(line.x) == 1 else ""}
        style: Any = "-" if line.colour == "select" else (0, (4, 1.2))
        axes.plot(line.x, _gaps(line.y), color=COLOURS[line.colour], linestyle=style, **look)
    axes.set_ylim(*limits)
    svg.set_axis(axes.xaxis, "epoch", bins=4)
    svg.set_axis(axes.yaxis, "", svg.percent_tick, bins=4)
    return figure


@drawn
def rate_plot(lines: Sequence[Line], across: str = "recall", up: str = "", *, chance: bool = False) -> Figure:
    """Draw one rate of a category against another, of which the axes are named; ``chance`` marks where both are equal.

    As it stands it is precision against recall: before in grey, after in colour.
    """
    figure, axes = svg.canvas(2.7, 2.2, 0.68 if up else 0.5, 0.45, 0.1, 0.1)
    if chance:
        axes.plot((0, 1), (0, 1), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    for line in lines:
        axes.plot(line.x, _gaps(line.y), color=COLOURS[line.colour], linewidth=1.7)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    for axis, name in ((axes.xaxis, across), (axes.yaxis, up)):
        svg.set_axis(axis, name, svg.percent_tick)
        axis.set_ticks((0, 0.5, 1))
    return figure


@drawn
def dot_plot(rows: Sequence[DotRow], label: str, heads: Sequence[str] = (), *, width: float = 8.8) -> Figure:
    """Draw a difference (a fraction) with its interval for every row, from the top, in percentage points.

    ``heads`` name what stands ``beside`` the rows; ``width`` is in inches.
    """
    bottom, top = 0.5, 0.35 if heads else 0.1
    height = bottom + 0.1 + 0.25 * len(rows) + top
    names = [shorten(row.name, 27) for row in rows]
    left = min(2.35, 0.3 + 0.083 * max(map(columns, names), default=0))
    beside = max([len(heads), *(len(row.beside) for row in rows)])
    right = 0.25 + 0.45 * max(1, beside)
    figure, axes = svg.canvas(width, height, left, bottom, right, top)
    across = axes.get_yaxis_transform()
    margin = [1 + 0.43 * (place + 1) / (width - left - right) for place in range(beside)]
    for place, row in [(-1.0, DotRow("", beside=heads)), *enumerate(rows)]:
        colour, marker = STATUS.get(row.style, (row.style, "o"))
        if row.interval is not None:
            axes.plot(row.interval, (place, place), color=COLOURS[colour], linewidth=2.4, alpha=0.5)
        if row.value is not None:
            axes.plot([row.value], [place], marker=marker, markersize=6, color=COLOURS[colour])
        for x, said in zip(margin, row.beside, strict=False):
            axes.text(x, place, said, transform=across, ha="right", va="center", fontsize=9)
    axes.axvline(0, color=INK, linewidth=1)
    ends = [end for row in rows if row.value is not None for end in (row.value, *(row.interval or ()))]
    axes.set_xlim(*svg.axis_limits([0.0, *ends]))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), names)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontstyle("italic" if row.value is None else "normal")
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    svg.set_axis(axes.xaxis, label, svg.points_tick, bins=8)
    return figure


@drawn
def gain_scatter(dots: Sequence[Point], x_label: str, y_label: str) -> Figure:
    """Draw gains (fractions) against counts; the counts on a logarithmic axis where they span much."""
    from matplotlib.ticker import NullLocator

    figure, axes = _scatter(dots)
    axes.axhline(0, color=INK, linewidth=1)
    counts = [point.x for point in dots]
    lowest, highest = min(counts, default=0.0), max(counts, default=1.0)
    if wide := highest > LOG_FROM * max(lowest, 1):
        # Symmetric: linear below 1, so that a category without a known positive has its place too.
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        axes.xaxis.set_minor_locator(NullLocator())
    limits = (-0.15 if lowest < 1 else lowest / 1.5, highest * 1.5) if wide else svg.axis_limits(counts)
    axes.set_xlim(*limits)
    svg.set_axis(axes.xaxis, x_label, count, bins=0 if wide else 6)
    axes.set_ylim(*svg.axis_limits([0.0, *(point.y for point in dots)]))
    svg.set_axis(axes.yaxis, y_label, svg.points_tick, bins=7)
    return figure


@drawn
def change_scatter(dots: Sequence[Point], x_label: str, y_label: str) -> Figure:
    """Draw after against before (fractions) with the diagonal of no change."""
    figure, axes = _scatter(dots)
    low, high = svg.axis_limits([value for point in dots for value in (point.x, point.y)])
    low, high = max(low, -0.03), min(high, 1.03)
    axes.plot([low, high], [low, high], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    svg.set_axis(axes.xaxis, x_label, svg.percent_tick, bins=6)
    svg.set_axis(axes.yaxis, y_label, svg.percent_tick, bins=6)
    return figure


@drawn
def reliability_plot(lines: Mapping[str, Sequence[tuple[float, float, int]]]) -> Figure:
    """Draw the share that is positive against the probability, and under it how many labels are in each bin.

    Each line holds (mean probability, share of positives, count) of every bin that is not empty.
    """
    from matplotlib.ticker import NullLocator

    figure, axes = svg.canvas(5.4, 4.7, 0.8, 1.35, 0.18, 0.4)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    below = figure.add_axes((0.8 / 5.4, 0.5 / 4.7, (5.4 - 0.98) / 5.4, 0.7 / 4.7))
    most = max([1, *(number for bins in lines.values() for _, _, number in bins)])
    for (label, bins), colour, marker in zip(lines.items(), (INK, COLOURS["test"]), "so", strict=True):
        probability, positive, counts = zip(*bins, strict=True) if bins else ((), (), ())
        axes.plot(probability, positive, color=colour, linewidth=1.8, marker=marker, markersize=5.5, label=label)
        below.plot(probability, counts, color=colour, linewidth=0, marker="_", markersize=12)
        below.vlines(probability, 0, counts, color=colour, linewidth=1.5, alpha=0.5)
    axes.set_ylim(-0.02, 1.02)
    below.set_yscale("symlog", linthresh=1)
    below.set_ylim(0, max(2.0, most * 2))
    below.set_yticks([0, 10.0 ** math.floor(math.log10(most))])
    below.yaxis.set_minor_locator(NullLocator())
    for part in (axes, below):
        part.set_xlim(-0.02, 1.02)
        part.grid(visible=True, axis="both")
    svg.set_axis(axes.xaxis, "", lambda _: "")
    svg.set_axis(axes.yaxis, "really positive", svg.percent_tick)
    svg.set_axis(below.xaxis, "probability that the head gives", svg.percent_tick)
    svg.set_axis(below.yaxis, "labels", count)
    svg.legend_above(axes)
    return figure


def panel_figure(panels: Sequence[Panel | None], across: int, size: tuple[float, float], sideways: bool) -> Figure:
    """Draw several panels of values with deviations: lines from left to right, or sideways a row a name.

    Parameters
    ----------
    panels : row by row; None leaves a gap
    across : panels side by side
    size : width and height in inches, all panels and the legend together
    sideways : names stand on the left and are shared by all panels; values go to the right
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    places = figure.subplots(math.ceil(len(panels) / across), across, squeeze=False, sharey=sideways).ravel()
    scale = None
    for axes, panel in zip_longest(places, panels):
        if panel is None:
            axes.set_visible(False)
            continue
        _draw_panel(axes, panel, sideways)
        scale = scale if panel.shares_scale else axes
        if panel.shares_scale:
            axes.sharey(scale)
    handles, labels = places[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    return figure


panel_plot = drawn(panel_figure)


def _draw_panel(axes: Axes, panel: Panel, sideways: bool) -> None:
    for number, one in enumerate(panel.series):
        look: dict[str, Any] = {"label": one.label, "color": f"C{number % 10}", "markersize": 4}
        if sideways:
            look |= {"fmt": "o", "elinewidth": 1.0}
            shift = (number - (len(panel.series) - 1) / 2) * 0.8 / len(panel.series)
            axes.errorbar(one.values, [place + shift for place in one.places], xerr=one.errors, **look)
        else:
            again = number // 10 % 4
            look |= {"marker": "os^D"[again], "linestyle": ("-", "--", ":", "-.")[again], "linewidth": 1.4}
            axes.errorbar(one.places, one.values, one.errors, elinewidth=0.8, **look)
    axes.set_title(panel.title, fontsize=8 if sideways else 10)
    axes.grid(visible=True, axis="both")
    if sideways:
        axes.tick_params(labelsize=8)
        axes.set_yticks(range(len(panel.names)), panel.names)
        axes.set_ylim(len(panel.names) - 0.4, -0.6)
        axes.set_xlabel(panel.value_label, fontsize=8)
        if panel.level is not None:
            axes.axvline(panel.level, color=INK, linewidth=0.8, alpha=0.6)
    else:
        axes.set_xticks(range(len(panel.names)), panel.names)
        axes.set_xlim(-0.2, len(panel.names) - 0.8)
        axes.set(xlabel=panel.place_label, ylabel=panel.value_label)


def _scatter(dots: Sequence[Point]) -> tuple[Figure, Axes]:
    """Draw points by status, the improved last so that they lie on top."""
    figure, axes = svg.canvas(5.0, 4.0, 0.68, 0.55, 0.17, 0.15)
    axes.grid(visible=True, axis="both")
    many = len(dots) > 150
    for status in reversed(STATUS):
        colour, marker = STATUS[status]
        own = [point for point in dots if point.status == status]
        look: dict[str, Any] = {"markersize": 4.0 if many else 6.0, "alpha": 0.45 if many else 0.85, "linewidth": 0}
        where = ([point.x for point in own], [point.y for point in own])
        axes.plot(*where, color=COLOURS[colour], marker=marker, markeredgewidth=0, **look)
    return figure, axes


def _levels(axes: Axes, values: Sequence[float], names: Sequence[str], limits: tuple[float, float]) -> None:
    """Draw dashed levels and name them in the right margin, moved apart where they would meet."""
    order = sorted(zip(values, names, strict=True))
    places = _apart([value for value, _ in order], 0.068 * (limits[1] - limits[0]), *limits)
    across = axes.get_yaxis_transform()
    for (value, name), place in zip(order, places, strict=True):
        axes.axhline(value, color=INK, linewidth=1.2, linestyle=(0, (5, 3)), alpha=0.85, zorder=1)
        axes.plot([1.0, 1.035], [value, place], color=INK, linewidth=0.7, transform=across, clip_on=False)
        axes.text(1.045, place, name, transform=across, va="center", fontsize=9)


def _apart(values: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Move ascending places at least `step` apart, each as little as possible, and keep them between the limits."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _mean(groups[-1]) - _mean(groups[-2]) < step * len(groups[-1] + groups[-2]) / 2:
            groups[-2:] = [groups[-2] + groups[-1]]
    places: list[float] = []
    for group in groups:
        half = step * (len(group) - 1) / 2
        middle = min(max(_mean(group), low + half), max(high - half, low + half))
        places.extend(middle - half + step * index for index in range(len(group)))
    return places


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
