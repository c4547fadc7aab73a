"""The page of a run of `labelwise cft`: its pictures, and all that its template fills in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from labelwise.report import cft
from labelwise.report.cft import STATUS_TITLES, Run, ends_of, gain_of
from labelwise.report.curves import read_curves
from labelwise.report.formats import count, decimal, duration, interval, percent, points, points2, several, shorten
from labelwise.report.page import Bar, Picture, Tile
from labelwise.report.plots import (
    DotRow,
    Line,
    Point,
    change_scatter,
    dot_plot,
    gain_scatter,
    rate_plot,
    reliability_plot,
)
from labelwise.report.read import Folder
from labelwise.report.table import Cell, Column, Row, Table
from labelwise.results import CftResults
from labelwise.results.cft import Bin, Candidate, Category

LINEAGE = {"Objective": "objective", "Method": "method", "Preset": "preset", "Base head": "base", "Seed": "seed"}
COLOURS = ("ink", "test")
"""Of curves before and after."""

MOST_CURVES, LEAST_POSITIVES = 8, 5
MOST_LINES, MOST_POINTS, MOST_EVIDENCE = 60, 2000, 100


def cft_context(results: CftResults, folder: Folder) -> dict[str, Any]:
    """Return what ``cft.html.j2`` fills in."""
    run = Run(results)
    first, hidden, last = run.excerpt(cft.MOST_ROWS["page"])
    evident = [category for category in (*first, *last) if category.evidence]
    groups = {"Not fitted": "not_fitted", "Kept as they were": "unchanged"}
    return {
        "title": results.name or folder.name,
        "results": results,
        "run": run,
        "folder": folder,
        "facts": cft.facts_of(results),
        "verdict": cft.verdict_of(run),
        "lines": cft.said_lines(run),
        "headline": _headline(run),
        "tiles": _tiles(run),
        "means": cft.mean_table(run),
        "forest": gain_picture(run),
        "scatters": [picture for picture in (known_picture(run), change_picture(run)) if picture is not None],
        "least_positives": LEAST_POSITIVES,
        "curves": precision_pictures(run, folder),
        "reliability": reliability_picture(results),
        "calibration": _calibration(results),
        "table": cft.category_table(run, "page"),
        "hidden": len(hidden),
        "groups": {title: found for title, status in groups.items() if (found := cft.reasons_of(run, status))},
        "evidence": [(category, _weighed(category)) for category in evident[:MOST_EVIDENCE]],
        "more_evidence": max(0, sum(bool(c.evidence) for c in results.categories) - MOST_EVIDENCE),
        "status_titles": STATUS_TITLES,
        "labels": _labels(results),
        "lineage": folder.about.lineage({name: getattr(results, key) for name, key in LINEAGE.items()}),
    }


def gain_picture(run: Run) -> Picture | None:
    """Draw the gain of every scored category with its interval; of many the ones that gained most and least."""
    scored = [category for category in run.ranked if run.gain(category) is not None]
    if not scored:
        return None
    first, hidden, last = run.excerpt(MOST_LINES) if len(scored) > MOST_LINES else (scored, [], [])
    left_out = sum(run.gain(category) is not None for category in hidden)
    gap = [DotRow(f"… {left_out:,} more …")] if last else []
    rows = [*(_dot_row(run, category) for category in first), *gap, *(_dot_row(run, category) for category in last)]
    caption = "Sorted by gain. "
    if run.test is None:
        caption = "Sorted by gain on select, which also chose the heads: these gains are too good by construction. "
    elif any(ends_of(category.test) is not None for category in scored):
        caption += "Lines: 95% intervals; among intervals of no real effect 1 in 40 lies above 0 and 1 in 40 below. "
    if last:
        caption += f"The {len(first)} that gained most and the {len(last)} that gained least of {len(scored):,}: the "
        caption += "extremes of many categories are mostly those with few positives. "
    caption += f"On the right, pos.: positives in {run.split}. "
    if missing := len(run.results.categories) - len(scored):
        caption += f"{several(missing, 'category', 'categories')} without a score on {run.split} not drawn."
    best, worst = scored[0], scored[-1]
    ends = "; ".join(f"{category.name}: {points(run.gain(category))} points" for category in (best, worst))
    alt = f"Gain of {run.metric} on {run.split} per category with intervals. {ends}."
    label = f"gain of {run.metric} on {run.split}, percentage points"
    svg = dot_plot("forest", alt, rows, label, ("gain", "pos."))
    return Picture(f"Gain of {run.metric} on {run.split}", svg, caption.strip())


def known_picture(run: Run) -> Picture | None:
    """Draw the gain of every category against how many positives were known to fit on."""
    gains = [(category, run.gain(category)) for category in run.ranked]
    dots = [Point(float(c.known_positive), gain, c.status) for c, gain in gains if gain is not None]
    if not dots:
        return None
    shown, note = _thinned(dots)
    alt = f"Scatter of the gain of {run.metric} on {run.split} against known positives, {len(dots):,} points."
    svg = gain_scatter("known", alt, shown, "known positives in fit", f"gain on {run.split}, points")
    return Picture("Gain against known positives", svg, f"Does the gain come where there is much to learn from? {note}")


def change_picture(run: Run) -> Picture | None:
    """Draw after against before."""
    scores = [(category, run.score(category)) for category in run.ranked]
    dots = [Point(s.before, s.after, c.status) for c, s in scores if s.before is not None and s.after is not None]
    if not dots:
        return None
    shown, note = _thinned(dots)
    up, down = sum(point.y > point.x for point in dots), sum(point.y < point.x for point in dots)
    caption = f"Above the dashed line the new head is better: {up:,} above, {down:,} below, "
    caption += f"{len(dots) - up - down:,} on it. {note}"
    alt = f"Scatter of {run.metric} after against before on {run.split}: {caption}"
    svg = change_scatter("change", alt, shown, f"{run.metric} before, {run.split}", f"{run.metric} after")
    return Picture("Before and after", svg, caption.strip())


def reliability_picture(results: CftResults) -> Picture | None:
    """Draw the reliability diagram before and after."""
    found = results.reliability
    if found is None:
        return None
    lines = {"before": _filled(found.before), "after": _filled(found.after)}
    said = "; ".join(
        f"{label}: " + ", ".join(f"{percent(p, 0)}% said, {percent(q, 0)}% true" for p, q, _ in bins)
        for label, bins in lines.items()
    )
    svg = reliability_plot("reliability", f"Reliability. {said}.", lines)
    caption = "On the dashed line a probability means what it says. Below: how many labels are in each bin."
    return Picture(f"Reliability on {found.split}", svg, caption)


def precision_pictures(run: Run, folder: Folder) -> list[Picture]:
    """Draw precision against recall, before and after, of the categories that gained most and least."""
    scored = [one for one in run.ranked if run.gain(one) is not None and run.score(one).positives >= LEAST_POSITIVES]
    chosen = scored if len(scored) <= MOST_CURVES else scored[: MOST_CURVES // 2] + scored[-MOST_CURVES // 2 :]
    found = []
    by_name = {one.name: run.score(one) for one in chosen}
    for place, (name, curves) in enumerate(read_curves(folder.path, run.split, list(by_name)).items()):
        lines = [Line(label, colour, *curve) for (label, curve), colour in zip(curves.items(), COLOURS, strict=True)]
        said = cft.change(by_name[name])
        alt = f"Precision against recall of {name}: {run.metric} {said} percent."
        found.append(Picture(f"{shorten(name, 24)} {said}", rate_plot(f"precision-{place}", alt, lines)))
    return found


def _headline(run: Run) -> list[Tile]:
    """Return the mean on test and on select, each with its gain; the gain on test with its interval as a bar."""
    total, mean, found = len(run.results.categories), run.results.mean, []
    for split, score, remark in (
        ("test", mean.test, "took no part in any choice"),
        ("select", mean.select, "chose the heads, so its gain is too good by construction"),
    ):
        if score is None:
            continue
        of = "" if score.scored == total else f" of {total:,}"
        said = f"mean over {score.scored:,}{of} categories; {split} {remark}"
        gain, ends, bar = gain_of(score), ends_of(score), None
        if gain is not None and ends is not None:
            bar = Bar.of(gain, ends)
            said = f"95% interval of the gain {interval(ends, 2)} points; the bar marks zero. {said.capitalize()}"
        heading = f"{run.mean_name} on {split}, in %"
        found.append(Tile(heading, cft.change2(score), f"{points2(gain)} points", said, bar))
    return found


def _tiles(run: Run) -> list[Tile]:
    """Return the small tiles under the two means."""
    results, over = run.results, cft.overstatement_of(run)
    counts, memory = results.counts, results.peak_memory_mb
    said, used = f"{points2(over)} points", "" if memory is None else f"at most {memory:,} MB of memory"
    rest = f"on select; {counts.unchanged:,} kept, {counts.not_fitted:,} not fitted"
    improved = f"{counts.improved:,} of {len(results.categories):,}"
    tiles = [Tile("Categories improved", improved, "", rest), Tile("Time", duration(results.seconds), "", used)]
    return [Tile("Overstatement of select", said, "", "its gain minus the gain on test")][: over is not None] + tiles


def _calibration(results: CftResults) -> Table | None:
    if results.calibration is None:
        return None
    found, four = results.calibration.test, partial(decimal, digits=4)
    columns = [Column("on test", right=False), Column("before", four), Column("after", four)]
    ece = Cell("ECE", ["mean gap between probability and truth; lower is better"])
    loss = Cell("log-loss", ["in nats a label; lower is better"])
    values = (ece, found.ece_before, found.ece_after), (loss, found.log_loss_before, found.log_loss_after)
    return Table(columns, [Row(row) for row in values])


def _weighed(category: Category) -> list[Candidate]:
    """The candidates of one category, those with the largest share in the adopted head first."""
    return sorted(category.evidence, key=lambda c: (-(c.share or 0.0), -(c.select or 0.0)))


def _labels(results: CftResults) -> Table:
    """Return how many labels every split has of each kind."""
    kinds = ("positive", "negative", "unknown", "uncertain")
    columns = [Column("split", right=False), Column("rows", count), Column("labels known, %", percent)]
    rows = [
        Row([split, getattr(results.splits, split), of.known, *(getattr(of, kind) for kind in kinds)])
        for split, of in results.labels.items()
    ]
    return Table([*columns, *(Column(kind, count) for kind in kinds)], rows)


def _dot_row(run: Run, category: Category) -> DotRow:
    score = run.score(category)
    beside = (points(score.gain), count(score.positives))
    return DotRow(category.name, category.status, score.gain, ends_of(score), beside)


def _thinned(dots: Sequence[Point]) -> tuple[Sequence[Point], str]:
    """Return the points, evenly thinned along their order (by gain) where they are too many, and a note on that."""
    if len(dots) <= MOST_POINTS:
        return dots, ""
    step = (len(dots) - 1) / (MOST_POINTS - 1)
    note = f"{MOST_POINTS:,} of {len(dots):,} categories are drawn, evenly by gain."
    return [dots[round(index * step)] for index in range(MOST_POINTS)], note


def _filled(bins: Sequence[Bin]) -> list[tuple[float, float, int]]:
    """Probability, share of positives and count of the bins that hold labels."""
    found = [(one.probability, one.positive, one.count) for one in bins]
    return sorted((p, q, n) for p, q, n in found if p is not None and q is not None and n)
