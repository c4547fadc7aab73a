"""Write a matplotlib figure as an SVG element for a page: own ids, text that stays text, colours that the page decides.

Every colour becomes ``var(--plot-name, fallback)``, so that a picture on its own still reads.
"""

import html
import io
import re
import warnings
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = {
    "ink": "#717a86",
    "grid": "#9aa3ae",
    "test": "#3a7bd5",
    "select": "#d9822a",
    "fit": "#2a9d7c",
    "gain": "#3b7cd6",
    "loss": "#cf5f5e",
    "run-1": "#3c7dd7",
    "run-2": "#d8812b",
    "run-3": "#2b9e7d",
    "run-4": "#a566c9",
    "run-5": "#c6557c",
    "run-6": "#8a8d35",
}
_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "font.family": ["sans-serif"],
    "axes.unicode_minus": True,
}


def svg_element(figure: Figure, key: str, alt: str) -> str:
    """Return a figure as an ``<svg>`` element.

    Parameters
    ----------
    figure : Figure
        Drawn in colours of `COLOURS` only.
    key : str
        Unique on the page: put before every id.
    alt : str
        The accessible name.
    """
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    settings: Any = {**_RC, "svg.hashsalt": key}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata=nothing)
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
