"""Pictures of numbers: pure functions from data to an SVG element that reads on light and on dark.

Nothing here touches pyplot or leaves any global state behind.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from labelwise.report.svg import COLOURS, svg_element

MARKERS = {"fit": "^", "select": "s", "test": "o"}


@dataclass(frozen=True)
class Line:
    """One line of a picture.

    ``x`` and ``y`` are of one length, None where nothing was measured; ``runs`` holds the same line for every seed.
    """

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float | None]
    runs: Sequence[Sequence[float | None]] = field(default_factory=tuple)


def generation_plot(
    lines: Sequence[Line],
    levels: Sequence[tuple[str, float]] = (),
    *,
    key: str,
    alt: str,
    as_percent: bool = True,
    width: float = 5.9,
    height: float = 4.0,
) -> str:
    """Draw one number per generation, with the controls as dashed levels named in the margin.

    Parameters
    ----------
    lines : sequence of Line
        ``x`` is the generation.
    levels : sequence of (name, value)
        Drawn over the whole width.
    key : str
        Unique on the page: it keeps the ids of two pictures apart.
    alt : str
        What a reader who cannot see the picture is told.
    as_percent : bool
        Fractions are written in percent.
    width, height : float
        Inches.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    figure = Figure(figsize=(width, height), layout=None)
    names = [_level_name(name, value, as_percent) for name, value in levels]
    margin = 0.35 + 0.076 * max(map(len, names)) if names else 0.2
    top = 0.6 + 0.27 * math.ceil(len(lines) / 3) if len(lines) > 1 else 0.6
    axes = figure.add_axes((0.55 / width, 0.5 / height, (width - 0.55 - margin) / width, (height - top) / height))
    shown = []
    for line in lines:
        x = [float(value) for value in line.x]
        colour = COLOURS[line.colour]
        for run in line.runs if len(line.runs) > 1 else ():
            axes.plot(x, _gaps(run), color=colour, linewidth=0.8, alpha=0.4)
        marker = MARKERS.get(line.colour, "o")
        (drawn,) = axes.plot(x, _gaps(line.y), color=colour, linewidth=2.2, marker=marker, markersize=5.5)
        drawn.set_label(_short(line.label))
        shown.append(drawn)
    values = [v for line in lines for run in (line.y, *line.runs) for v in run if v is not None]
    low, high = axis_limits([*values, *(value for _, value in levels)])
    axes.set_ylim(low, high)
    ticks = sorted({float(value) for line in lines for value in line.x})
    axes.set_xlim((ticks[0] if ticks else 1) - 0.3, (ticks[-1] if ticks else 1) + 0.3)
    axes.set_xticks(ticks[:: max(1, math.ceil(len(ticks) / 12))])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    frame(axes, percent_tick if as_percent else _plain_tick)
    axes.set_xlabel("generation", color=COLOURS["ink"])
    _levels(axes, levels, (low, high), as_percent)
    if len(shown) > 1:
        _legend(axes, shown)
    return svg_element(figure, key, alt)


def curve_plot(
    lines: Sequence[Line],
    *,
    key: str,
    alt: str,
    limits: tuple[float, float],
    kept: Sequence[float] = (),
    width: float = 2.7,
    height: float = 2.05,
) -> str:
    """Draw the learning curves of one network, a thin line a seed; ``kept`` marks the epochs that were kept."""
    figure = Figure(figsize=(width, height), layout=None)
    axes = figure.add_axes((0.5 / width, 0.45 / height, (width - 0.6) / width, (height - 0.55) / height))
    for epoch in kept:
        axes.axvline(epoch, color=COLOURS["ink"], linewidth=0.9, linestyle=(0, (1, 2)))
    for line in lines:
        single = len(line.x) == 1
        axes.plot(
            [float(value) for value in line.x],
            _gaps(line.y),
            color=COLOURS[line.colour],
            linewidth=1.5,
            alpha=0.85,
            marker="o" if single else "",
            linestyle="-" if line.colour == "select" else (0, (4, 1.2)),
        )
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    frame(axes, percent_tick)
    axes.set_xlabel("epoch", color=COLOURS["ink"])
    return svg_element(figure, key, alt)


def change_plot(names: Sequence[str], changes: Sequence[float], *, key: str, alt: str, width: float = 6.6) -> str:
    """Draw sorted horizontal bars of a change per class, in percentage points.

    Parameters
    ----------
    names : sequence of str
        Classes, in the order in which they are drawn from the top; an empty name leaves a gap.
    changes : sequence of float
        Change of each as a fraction.
    key, alt, width
        As in `generation_plot`.
    """
    height = 0.75 + 0.235 * len(names)
    figure = Figure(figsize=(width, height), layout=None)
    left = min(2.3, 0.35 + 0.085 * max((len(_short(name)) for name in names), default=0))
    axes = figure.add_axes((left / width, 0.5 / height, (width - left - 0.2) / width, (height - 0.6) / height))
    tone = [COLOURS["gain" if change >= 0 else "loss"] for change in changes]
    axes.barh(range(len(names)), changes, color=tone, height=0.68)
    reach = max((abs(change) for change in changes), default=0.0) or 0.01
    lowest, highest = min(0.0, *changes, 0.0), max(0.0, *changes, 0.0)
    axes.set_xlim(
        lowest - (0.2 * reach if lowest < 0 else 0.02 * reach), highest + (0.2 if highest > 0 else 0.02) * reach
    )
    for place, (name, change) in enumerate(zip(names, changes, strict=True)):
        if name:
            side = "left" if change >= 0 else "right"
            axes.annotate(
                points_tick(change, 0),
                (change, place),
                (4 if change >= 0 else -4, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8.5,
                color=COLOURS["ink"],
            )
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.axvline(0, color=COLOURS["ink"], linewidth=1)
    frame(axes, grid="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
    axes.xaxis.set_major_formatter(FuncFormatter(points_tick))
    axes.set_xlabel("change in percentage points", color=COLOURS["ink"])
    return svg_element(figure, key, alt)


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def axis_limits(values: Sequence[float], room: float = 0.08, least: float = 0.02) -> tuple[float, float]:
    """Return axis limits around values: ``room`` times their span, or at least ``least`` where there is no span."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    around = room * (high - low) or max(least, 0.05 * abs(high))
    return low - around, high + around


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def percent_tick(value: float, _: float | None = None) -> str:
    """Write a fraction in percent."""
    return f"{round(100 * value, 2):g}%"


def _plain_tick(value: float, _: float | None = None) -> str:
    return f"{round(value, 6):g}"


def points_tick(value: float, _: float | None = None) -> str:
    """Write a difference of fractions in percentage points with its sign."""
    written = f"{round(100 * value, 1):+g}".replace("-", "−")
    return "0" if written in ("+0", "−0") else written


def frame(axes: Axes, tick: Callable[..., str] | None = None, grid: Literal["x", "y", "both"] = "y") -> None:
    """Take away what is not data, and draw a faint grid."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLOURS["grid"])
    axes.tick_params(colors=COLOURS["ink"], length=0, pad=5)
    axes.grid(visible=True, axis=grid, color=COLOURS["grid"], alpha=0.3, linewidth=0.8)
    axes.set_axisbelow(True)
    if tick is not None:
        axes.yaxis.set_major_formatter(FuncFormatter(tick))


def _legend(axes: Axes, shown: Sequence[Line2D]) -> None:
    legend = axes.legend(
        handles=list(shown),
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=3,
        frameon=False,
        labelcolor=COLOURS["ink"],
        handlelength=1.6,
        columnspacing=1.3,
        borderaxespad=0.2,
    )
    for label in legend.get_texts():
        label.set_parse_math(False)


def _levels(axes: Axes, levels: Sequence[tuple[str, float]], limits: tuple[float, float], as_percent: bool) -> None:
    """Draw dashed levels and name them in the right margin, moved apart where they would meet."""
    low, high = limits
    order = sorted(levels, key=lambda level: level[1])
    places = _apart([value for _, value in order], 0.068 * (high - low), low, high)
    across = axes.get_yaxis_transform()
    for (name, value), place in zip(order, places, strict=True):
        axes.axhline(value, color=COLOURS["ink"], linewidth=1.2, linestyle=(0, (5, 3)), alpha=0.85, zorder=1)
        axes.plot([1.0, 1.035], [value, place], color=COLOURS["ink"], linewidth=0.7, transform=across, clip_on=False)
        label = axes.text(1.045, place, _level_name(name, value, as_percent), transform=across, va="center", fontsize=9)
        label.set_color(COLOURS["ink"])
        label.set_parse_math(False)


def _apart(values: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Move ascending places at least `step` apart, each as little as possible, and keep them between the limits."""
    groups: list[list[float]] = []
    centres: list[float] = []
    for value in values:
        groups.append([value])
        centres.append(value)
        while len(groups) > 1 and centres[-1] - centres[-2] < step * (len(groups[-1]) + len(groups[-2])) / 2:
            groups[-2:] = [groups[-2] + groups[-1]]
            centres[-2:] = [sum(groups[-1]) / len(groups[-1])]
    places: list[float] = []
    for group, centre in zip(groups, centres, strict=True):
        half = step * (len(group) - 1) / 2
        middle = min(max(centre, low + half), max(high - half, low + half))
        places.extend(middle - half + step * index for index in range(len(group)))
    return places


def _level_name(name: str, value: float, as_percent: bool) -> str:
    return f"{_short(name, 18)} {percent_tick(round(value, 3)) if as_percent else format(value, '.3g')}".strip()
