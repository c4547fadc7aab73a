"""What all pictures share: colours, style, axes, and how a figure becomes an SVG element that reads on light and dark.

Colours become ``var(--plot-name, fallback)``: the page decides, and a picture on its own still reads. matplotlib is
imported when a picture is drawn, and no picture leaves global state behind.
"""

from __future__ import annotations

import contextlib
import functools
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

COLOURS = {"ink": "#717a86", "grid": "#9aa3ae", "test": "#3a7bd5", "select": "#d9822a", "fit": "#2a9d7c"}
COLOURS |= {"gain": "#3b7cd6", "loss": "#cf5f5e"}
COLOURS |= {"run-1": "#3c7dd7", "run-2": "#d8812b", "run-3": "#2b9e7d"}
COLOURS |= {"run-4": "#a566c9", "run-5": "#c6557c", "run-6": "#8a8d35"}
INK, GRID = COLOURS["ink"], COLOURS["grid"]
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "font.family": ["sans-serif"],
    "text.parse_math": False,  # a name may hold anything, with dollars too
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.0,
    "axes.edgecolor": GRID,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    **{f"axes.spines.{side}": False for side in ("top", "right", "left")},
    **{f"{axis}tick.{key}": INK for axis in "xy" for key in ("color", "labelcolor")},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    **{f"{axis}tick.major.pad": 5 for axis in "xy"},
}


def drawn(draw: Callable[P, Figure]) -> Callable[Concatenate[str, str, P], str]:
    """Turn a function that draws a figure into one of ``key``, ``alt`` and the same arguments that returns an SVG."""

    @functools.wraps(draw)
    def picture(key: str, alt: str, /, *args: P.args, **kwargs: P.kwargs) -> str:
        with _style(key):
            return _svg_element(draw(*args, **kwargs), key, alt)

    return picture


def svg_file(draw: Callable[P, Figure], *args: P.args, **kwargs: P.kwargs) -> bytes:
    """Return what a function draws as an SVG file of its own."""
    buffer = io.BytesIO()
    with _style("labelwise"):
        draw(*args, **kwargs).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@contextlib.contextmanager
def _style(salt: str) -> Iterator[None]:
    """Everything is drawn in `STYLE`; ``salt`` is what ids are made from, so that they never change."""
    import matplotlib as mpl

    settings: Any = {**STYLE, "svg.hashsalt": salt}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def canvas(width: float, height: float, left: float, bottom: float, right: float, top: float) -> tuple[Figure, Axes]:
    """Return a figure with one plot inside margins, all in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=None)
    inside = ((width - left - right) / width, (height - bottom - top) / height)
    axes = figure.add_axes((left / width, bottom / height, *inside))
    return figure, axes


def set_axis(axis: Any, label: str, write: Callable[[float], str] | None = None, bins: int = 0) -> None:
    """Name an axis; ``write`` says what stands at its ticks, of which there are at most ``bins`` + 1 where given."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_label_text(label)
    if bins:
        axis.set_major_locator(MaxNLocator(nbins=bins))
    if write is not None:
        axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def legend_above(axes: Axes) -> None:
    """Name what is drawn, three names a line."""
    look: dict[str, Any] = {"handlelength": 1.6, "columnspacing": 1.3, "borderaxespad": 0.2}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, **look)


def axis_limits(values: Sequence[float], room: float = 0.06, least: float = 0.01) -> tuple[float, float]:
    """Return axis limits around values: ``room`` times their span, or at least ``least`` where there is no span."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    around = room * (high - low) or max(least, 0.05 * abs(high))
    return low - around, high + around


def percent_tick(value: float) -> str:
    """Write a fraction in percent with as few digits as it needs."""
    return f"{round(100 * value, 2):g}%"


def plain_tick(value: float) -> str:
    """Write a number with as few digits as it needs."""
    return f"{value:.3g}"


def points_tick(value: float) -> str:
    """Write a difference of fractions in percentage points with as few digits as it needs."""
    return f"{round(100 * value, 1):+g}".replace("-", "−") if round(1000 * value) else "0"


def _svg_element(figure: Figure, key: str, alt: str) -> str:
    """Return a figure drawn in colours of `COLOURS` as an ``<svg>`` element with ids of its own and text as text."""
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    raw = buffer.getvalue()
    tags = {fallback: f"var(--plot-{name}, {fallback})" for name, fallback in COLOURS.items()}
    colour = re.compile("|".join(tags))

    def in_tag(match: re.Match[str]) -> str:
        tag = colour.sub(lambda found: tags[found.group()], match.group())
        tag = re.sub(r'\bid="', f'id="{key}-', tag)
        tag = tag.replace("url(#", f"url(#{key}-").replace('xlink:href="#', f'href="#{key}-')
        return re.sub(r" ?font-family: [^;\"]*;?", "", tag)

    body = re.sub(r"<[^>]*>", in_tag, raw[raw.index("<svg") :])
    inside = re.sub(r"<style type=\"text/css\">.*?</style>", "", body[body.index(">") + 1 :], flags=re.DOTALL)
    inside = re.sub(r"<metadata>.*?</metadata>", "", inside, flags=re.DOTALL)
    width, height = (72 * float(side) for side in figure.get_size_inches())
    size = f'viewBox="0 0 {width:g} {height:g}" style="max-width:{width / 0.75:.0f}px"'
    return f'<svg class="plot" role="img" aria-label="{html.escape(alt)}" {size}>{inside.strip()}'
