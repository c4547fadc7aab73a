"""The pictures of a run of category-wise fine-tuning: picks the numbers and hands them to `cft_plots`."""

from typing import Any

from labelwise.report.cft_plots import (
    Bins,
    ForestRow,
    Point,
    change_scatter,
    forest_plot,
    gain_scatter,
    reliability_plot,
)
from labelwise.report.cft_read import Category, CftResults
from labelwise.report.cft_summary import share, signed
from labelwise.report.figures import Picture
from labelwise.report.read import mapping, number, sequence, text

MOST_LINES = 60
MOST_POINTS = 2000


def forest_picture(results: CftResults) -> Picture | None:
    """Draw the gain of every scored category with its interval; of many the ones that gained most and least."""
    scored = [category for category in results.ranked if results.gain(category) is not None]
    if not scored:
        return None
    first, hidden, last = results.excerpt(MOST_LINES) if len(scored) > MOST_LINES else (scored, [], [])
    left_out = sum(results.gain(category) is not None for category in hidden)
    rows = [_line(results, category) for category in first]
    if last:
        rows += [ForestRow(f"… {left_out:,} more …"), *(_line(results, category) for category in last)]
    caption = "Sorted by gain. "
    if results.test is None:
        caption = "Sorted by gain on select, which also chose the heads: these gains are too good by construction. "
    elif any(category.test.interval is not None for category in scored):
        caption += "Lines: 95% intervals; among intervals of no real effect 1 in 40 lies above 0 and 1 in 40 below. "
    if last:
        caption += (
            f"The {len(first)} that gained most and the {len(last)} that gained least of {len(scored):,}: the extremes "
            f"of many categories are mostly those with few positives ({results.split} positives on the right). "
        )
    else:
        caption += f"On the right, pos.: positives in {results.split}. "
    if missing := len(results.categories) - len(scored):
        caption += f"Not drawn, for want of a score on {results.split}: {missing:,}."
    best, worst = scored[0], scored[-1]
    alt = (
        f"Gain of {results.metric} on {results.split} per category with intervals. "
        f"{best.name}: {signed(results.gain(best))} points; {worst.name}: {signed(results.gain(worst))} points."
    )
    svg = forest_plot(rows, unit=f"{results.metric} on {results.split}", key="forest", alt=alt)
    return Picture(f"Gain of {results.metric} on {results.split}", svg, caption.strip())


def known_picture(results: CftResults) -> Picture | None:
    """Draw the gain of every category against how many positives were known to fit on."""
    points = [
        Point(float(category.known_positive), gain, category.status)
        for category in results.ranked
        if (gain := results.gain(category)) is not None and category.known_positive is not None
    ]
    if not points:
        return None
    shown, note = _thinned(points)
    alt = f"Scatter of the gain of {results.metric} on {results.split} against known positives, {len(points):,} points."
    svg = gain_scatter(
        shown,
        x_label="known positives in fit",
        y_label=f"gain on {results.split}, points",
        key="known",
        alt=alt,
    )
    return Picture("Gain against known positives", svg, f"Does the gain come where there is much to learn from? {note}")


def change_picture(results: CftResults) -> Picture | None:
    """Draw after against before."""
    points = [
        Point(score.before, score.after, category.status)
        for category in results.ranked
        if (score := results.score(category)).before is not None and score.after is not None
    ]
    if not points:
        return None
    shown, note = _thinned(points)
    up, down = sum(point.y > point.x for point in points), sum(point.y < point.x for point in points)
    caption = f"Above the dashed line the new head is better: {up:,} above, {down:,} below, "
    caption += f"{len(points) - up - down:,} on it. {note}"
    svg = change_scatter(
        shown,
        x_label=f"{results.metric} before, {results.split}",
        y_label=f"{results.metric} after",
        key="change",
        alt=f"Scatter of {results.metric} after against before on {results.split}: {caption}",
    )
    return Picture("Before and after", svg, caption.strip())


def reliability_picture(results: CftResults) -> Picture | None:
    """Draw the reliability diagram before and after."""
    found = mapping(results.raw.get("reliability"))
    lines = [
        bins
        for label, colour in (("before", "ink"), ("after", "test"))
        if (bins := _bins(label, colour, found.get(label))) is not None
    ]
    if not lines:
        return None
    said = "; ".join(
        f"{line.label}: "
        + ", ".join(
            f"{share(p, 0)}% said, {share(q, 0)}% true" for p, q in zip(line.probability, line.positive, strict=True)
        )
        for line in lines
    )
    split = text(found.get("split")) or results.split
    caption = "On the dashed line a probability means what it says. Below: how many labels are in each bin."
    return Picture(
        f"Reliability on {split}", reliability_plot(lines, key="reliability", alt=f"Reliability. {said}."), caption
    )


def _line(results: CftResults, category: Category) -> ForestRow:
    score = results.score(category)
    return ForestRow(category.name, category.status, score.gain, score.interval, score.positives)


def _thinned(points: list[Point]) -> tuple[list[Point], str]:
    """Return the points, evenly thinned along their order (by gain) where they are too many, and a note on that."""
    if len(points) <= MOST_POINTS:
        return points, ""
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(index * step)] for index in range(MOST_POINTS)], (
        f"{MOST_POINTS:,} of {len(points):,} categories are drawn, evenly by gain."
    )


def _bins(label: str, colour: str, value: Any) -> Bins | None:
    """Return the bins that hold at least one label."""
    found = []
    for item in map(mapping, sequence(value)):
        probability, positive, count = (number(item.get(key)) for key in ("probability", "positive", "count"))
        if probability is not None and positive is not None and count is not None and count > 0:
            found.append((probability, positive, count))
    if not found:
        return None
    probability_, positive_, count_ = zip(*sorted(found), strict=True)
    return Bins(label, colour, probability_, positive_, count_)
