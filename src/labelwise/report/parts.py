"""The head of a page: what a run is, the few numbers that matter most, and the difference with its interval."""

from collections.abc import Sequence
from typing import Any

from labelwise.report import figures, summary
from labelwise.report.read import RunFolder, mapping, number, sequence, text


def title_of(run: RunFolder) -> str:
    """Return the name of the data, or of the folder."""
    return text(mapping(run.run.get("data")).get("name")) or run.name


def facts_of(run: RunFolder) -> list[str]:
    """Return what the run is, in a few short phrases for the head of the page."""
    results, data = run.results, mapping(run.run.get("data"))
    models = list(dict.fromkeys(text(row.get("model")) for row in results["rows"] if row.get("model")))
    count = len(figures.generations(results))
    seeds = len({text(row.get("seed")) for row in results["rows"]})
    splits = mapping(data.get("sizes")) or mapping(results.get("splits"))
    sizes = [
        f"{size:,.0f} {name}" for name in ("fit", "select", "test") if (size := number(splits.get(name))) is not None
    ]
    image = mapping(data.get("image"))
    size, channels = number(image.get("size")), number(image.get("channels"))
    classes = sequence(data.get("classes"))
    return [
        fact
        for fact in (
            ", ".join(models[:3]) + ("…" if len(models) > 3 else ""),
            f"{count} generation{'s' * (count != 1)}" if count else "",
            f"{seeds} seed{'s' * (seeds != 1)}" if seeds else "",
            f"{len(classes)} {summary.words_of(results).many}" if classes else "",
            " · ".join(sizes),
            f"{size:.0f} px, {'grey' if channels == 1 else 'RGB' if channels == 3 else 'images'}" if size else "",
        )
        if fact
    ]


def tiles_of(results: dict[str, Any], entries: Sequence[summary.Entry]) -> list[tuple[str, str, str, str]]:
    """Return (heading, number, deviation, remark) of the few numbers that matter most."""
    key = f"test_{summary.metric_of(results)[0]}"
    first = next((entry for entry in entries if entry.role == "generation"), None)
    best = {entry.role: entry for entry in entries if entry.marked}
    tiles = []
    shown = (
        ("Generation 1", first),
        ("Best generation", best.get("generation")),
        ("Best control", best.get("control")),
    )
    for heading, entry in shown:
        if entry is not None and (stat := entry.stats.get(key)) is not None and stat.mean is not None:
            spread = "" if stat.std is None else f"± {summary.percent(stat.std)}"
            tiles.append((heading, f"{summary.percent(stat.mean)}%", spread, f"{entry.name}, on test"))
    return tiles


def interval_picture(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return the difference, its interval and where both lie on a scale of 0 to 100 with zero in the middle."""
    difference, interval = number(mapping(results.get("comparison")).get("difference")), summary.interval_of(results)
    if difference is None:
        return None
    low, high = interval or (difference, difference)
    reach = 1.15 * max(abs(low), abs(high), abs(difference), 1e-6)

    def place(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    return {
        "difference": difference,
        "interval": interval,
        "left": place(low),
        "width": round(place(high) - place(low), 2),
        "at": place(difference),
        "control": text(mapping(results.get("comparison")).get("control")),
    }
