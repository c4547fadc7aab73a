"""Pictures of category-wise fine-tuning: pure functions from numbers to an SVG element, as in `plots`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from labelwise.report.cft_summary import columns, shorten, signed
from labelwise.report.plots import axis_limits, frame, percent_tick, points_tick
from labelwise.report.svg import COLOURS, svg_element

# Colour and shape both tell the status, so that neither is needed alone.
STYLE = {"improved": ("fit", "o"), "unchanged": ("ink", "D"), "not_fitted": ("select", "s")}
LOG_FROM = 30


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot; a row without a gain is a gap that says its name."""

    name: str
    status: str = ""
    gain: float | None = None
    interval: tuple[float, float] | None = None
    positives: int | None = None


@dataclass(frozen=True)
class Point:
    """One category in a scatter plot."""

    x: float
    y: float
    status: str


@dataclass(frozen=True)
class Bins:
    """One line of a reliability diagram: mean probability, positive share and count of every bin that is not empty."""

    label: str
    colour: str
    probability: Sequence[float]
    positive: Sequence[float]
    count: Sequence[float]


def forest_plot(rows: Sequence[ForestRow], *, unit: str, key: str, alt: str, width: float = 8.8) -> str:
    """Draw a gain with its interval per category, in the order given from the top.

    Parameters
    ----------
    rows : sequence of ForestRow
        Gains as fractions; drawn in percentage points.
    unit : str
        What was gained, for the axis.
    key : str
        Unique on the page: it keeps the ids of two pictures apart.
    alt : str
        What a reader who cannot see the picture is told.
    width : float
        Inches.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    height = 0.95 + 0.25 * len(rows)
    figure = Figure(figsize=(width, height), layout=None)
    names = [shorten(row.name, 27) for row in rows]
    left, right = min(2.35, 0.3 + 0.083 * max(map(columns, names), default=0)), 1.15
    axes = figure.add_axes((left / width, 0.5 / height, (width - left - right) / width, (height - 0.85) / height))
    across = axes.get_yaxis_transform()
    for place, row in enumerate(rows):
        if row.gain is None:
            continue
        name, marker = STYLE[row.status]
        colour = COLOURS[name]
        if row.interval is not None:
            axes.plot(row.interval, (place, place), color=colour, linewidth=2.4, alpha=0.5)
        axes.plot([row.gain], [place], marker=marker, markersize=6, color=colour)
        for x, said in ((1.075, signed(row.gain)), (1.155, "–" if row.positives is None else f"{row.positives:,}")):
            axes.text(x, place, said, transform=across, ha="right", va="center", fontsize=9, color=COLOURS["ink"])
    for x, said in ((1.075, "gain"), (1.155, "pos.")):
        axes.text(x, -1.0, said, transform=across, ha="right", va="center", fontsize=9, color=COLOURS["ink"])
    axes.axvline(0, color=COLOURS["ink"], linewidth=1)
    ends = [end for row in rows if row.gain is not None for end in (row.gain, *(row.interval or ()))]
    axes.set_xlim(*_room([0.0, *ends]))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), names)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_parse_math(False)
        label.set_fontstyle("italic" if row.gain is None else "normal")
    frame(axes, grid="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8))
    axes.xaxis.set_major_formatter(FuncFormatter(points_tick))
    axes.set_xlabel(f"gain of {unit}, percentage points", color=COLOURS["ink"], parse_math=False)
    return svg_element(figure, key, alt)


def gain_scatter(points: Sequence[Point], *, x_label: str, y_label: str, key: str, alt: str) -> str:
    """Draw gains (fractions) against counts; the counts on a logarithmic axis where they span much."""
    figure, axes = _square()
    axes.axhline(0, color=COLOURS["ink"], linewidth=1)
    _dots(axes, points)
    counts = [point.x for point in points]
    lowest, highest = min(counts, default=0.0), max(counts, default=1.0)
    if highest > LOG_FROM * max(lowest, 1):
        # Symmetric: linear below 1, so that a category without a known positive has its place too.
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        axes.set_xlim(-0.15 if lowest < 1 else lowest / 1.5, highest * 1.5)
        powers = [10.0**power for power in range(math.ceil(math.log10(highest)) + 1)]
        ticks = [tick for tick in ([0.0] if lowest < 1 else []) + powers if lowest / 1.5 <= tick <= highest * 1.5]
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(*_room(counts))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylim(*_room([0.0, *(point.y for point in points)]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7))
    axes.yaxis.set_major_formatter(FuncFormatter(points_tick))
    axes.set_xlabel(x_label, color=COLOURS["ink"], parse_math=False)
    axes.set_ylabel(y_label, color=COLOURS["ink"], parse_math=False)
    return svg_element(figure, key, alt)


def change_scatter(points: Sequence[Point], *, x_label: str, y_label: str, key: str, alt: str) -> str:
    """Draw after against before (fractions) with the diagonal of no change."""
    figure, axes = _square()
    low, high = _room([value for point in points for value in (point.x, point.y)])
    low, high = max(low, -0.03), min(high, 1.03)
    axes.plot([low, high], [low, high], color=COLOURS["ink"], linewidth=1, linestyle=(0, (4, 3)))
    _dots(axes, points)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6))
        axis.set_major_formatter(FuncFormatter(percent_tick))
    axes.set_xlabel(x_label, color=COLOURS["ink"], parse_math=False)
    axes.set_ylabel(y_label, color=COLOURS["ink"], parse_math=False)
    return svg_element(figure, key, alt)


def reliability_plot(lines: Sequence[Bins], *, key: str, alt: str) -> str:
    """Draw the share that is positive against the probability, and under it how many labels are in each bin."""
    width, height = 5.4, 4.7
    figure = Figure(figsize=(width, height), layout=None)
    axes = figure.add_axes((0.8 / width, 1.35 / height, (width - 0.98) / width, (height - 1.75) / height))
    axes.plot([0, 1], [0, 1], color=COLOURS["ink"], linewidth=1, linestyle=(0, (4, 3)))
    drawn = []
    for line, marker in zip(lines, "sod^", strict=False):
        colour = COLOURS[line.colour]
        (one,) = axes.plot(line.probability, line.positive, color=colour, linewidth=1.8, marker=marker, markersize=5.5)
        one.set_label(line.label)
        drawn.append(one)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(percent_tick))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: ""))
    axes.set_ylabel("really positive", color=COLOURS["ink"], parse_math=False)
    frame(axes, grid="both")
    axes.legend(handles=drawn, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False)
    for label in axes.get_legend().get_texts():  # type: ignore[union-attr]
        label.set_color(COLOURS["ink"])
    below = figure.add_axes((0.8 / width, 0.5 / height, (width - 0.98) / width, 0.7 / height))
    for line in lines:
        below.plot(line.probability, line.count, color=COLOURS[line.colour], linewidth=0, marker="_", markersize=12)
        below.vlines(line.probability, 0, line.count, color=COLOURS[line.colour], linewidth=1.5, alpha=0.5)
    most = max((count for line in lines for count in line.count), default=1.0)
    below.set_yscale("symlog", linthresh=1)
    below.set_ylim(0, max(2.0, most * 2))
    below.set_yticks([0, 10.0 ** max(0, math.floor(math.log10(max(most, 1))))])
    below.yaxis.set_minor_locator(NullLocator())
    below.yaxis.set_major_formatter(FuncFormatter(_thousands))
    below.set_xlim(-0.02, 1.02)
    below.xaxis.set_major_formatter(FuncFormatter(percent_tick))
    frame(below, grid="both")
    below.set_xlabel("probability that the head gives", color=COLOURS["ink"], parse_math=False)
    below.set_ylabel("labels", color=COLOURS["ink"], parse_math=False)
    return svg_element(figure, key, alt)


def _square() -> tuple[Figure, Axes]:
    width, height = 5.0, 4.0
    figure = Figure(figsize=(width, height), layout=None)
    axes = figure.add_axes((0.68 / width, 0.55 / height, (width - 0.85) / width, (height - 0.7) / height))
    frame(axes, grid="both")
    return figure, axes


def _dots(axes: Axes, points: Sequence[Point]) -> None:
    """Draw points by status, the improved last so that they lie on top."""
    alpha = 0.85 if len(points) <= 150 else 0.45
    size = 6.0 if len(points) <= 150 else 4.0
    for status in reversed(STYLE):
        name, marker = STYLE[status]
        own = [point for point in points if point.status == status]
        if own:
            axes.plot(
                [point.x for point in own],
                [point.y for point in own],
                color=COLOURS[name],
                linewidth=0,
                marker=marker,
                markersize=size,
                alpha=alpha,
                markeredgewidth=0,
            )


def _room(values: Sequence[float]) -> tuple[float, float]:
    """Return axis limits closer to the values than those of other pictures: gains are small and dots have no width."""
    return axis_limits(values, room=0.06, least=0.01)


def _thousands(value: float, _: float | None = None) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
