"""The page of a run of category-wise fine-tuning: what its template fills in.

Start at `cft_context`. Words are made in `cft_summary`, pictures in `cft_figures`.
"""

from typing import Any

from labelwise.report import cft_figures, cft_summary
from labelwise.report.cft_read import STATUS_TITLES, Category, CftResults, Score, parse_results
from labelwise.report.read import RunFolder, mapping, number, text
from labelwise.report.summary import duration

MOST_ROWS = 300
MOST_EVIDENCE = 100
MOST_CANDIDATES = 20
LABEL_KINDS = ("positive", "negative", "unknown", "uncertain")
TONES = {"improved": "gain", "unchanged": "", "not_fitted": "mixed"}


def cft_context(run: RunFolder) -> dict[str, Any]:
    """Return what ``cft.html.j2`` shows of a run folder.

    Parameters
    ----------
    run : RunFolder
        As `labelwise.report.cft_read.read_cft_run` returns it.
    """
    results = parse_results(run.results)
    first, hidden, last = results.excerpt(MOST_ROWS)
    evident = [_evidence(results, category) for category in (*first, *last) if category.evidence]
    return {
        "title": text(run.results.get("name")) or run.name,
        "facts": cft_summary.facts_of(results),
        "verdict": cft_summary.verdict_of(results),
        "lines": [
            line
            for line in (
                cft_summary.overstatement_line(results),
                cft_summary.count_line(results),
                cft_summary.clear_line(results),
            )
            if line
        ],
        "warnings": cft_summary.warnings_of(results),
        "notes": run.notes,
        "headline": _headline(results),
        "tiles": _tiles(results),
        "means": _means(results),
        "tested": results.test is not None,
        "split": results.split,
        "metric": results.metric,
        "forest": cft_figures.forest_picture(results),
        "scatters": [
            picture
            for picture in (cft_figures.known_picture(results), cft_figures.change_picture(results))
            if picture is not None
        ],
        "reliability": cft_figures.reliability_picture(results),
        "calibration": _calibration(results),
        "first": [_row(results, category) for category in first],
        "last": [_row(results, category) for category in last],
        "hidden": len(hidden),
        "hidden_counts": cft_summary.status_counts(hidden),
        "thresholds": any(category.threshold is not None for category in results.categories),
        "with_ece": any(category.ece != (None, None) for category in results.categories),
        "groups": [
            (title, cft_summary.reasons_of(results, status))
            for title, status in (("Not fitted", "not_fitted"), ("Kept as they were", "unchanged"))
        ],
        "evidence": evident[:MOST_EVIDENCE],
        "more_evidence": max(0, sum(bool(c.evidence) for c in results.categories) - MOST_EVIDENCE),
        "labels": _labels(results),
        "stages": _stages(results),
        "lineage": _lineage(run, results),
        "config": run.config,
    }


def _tiles(results: CftResults) -> list[tuple[str, str, str]]:
    """Return (heading, number, remark) of the small tiles under the two means."""
    tiles = []
    over = cft_summary.overstatement_of(results)
    if over is not None:
        tiles.append(("Overstatement of select", _points(over), "its gain minus the gain on test"))
    counts = results.counts
    rest = f"on select; {counts['unchanged']:,} kept, {counts['not_fitted']:,} not fitted"
    tiles.append(("Categories improved", f"{counts['improved']:,} of {sum(counts.values()):,}", rest))
    seconds, memory = number(results.raw.get("seconds")), number(results.raw.get("peak_memory_mb"))
    if seconds is not None:
        tiles.append(("Time", duration(seconds), "" if memory is None else f"at most {memory:,.0f} MB of memory"))
    return tiles


def _headline(results: CftResults) -> list[dict[str, Any]]:
    """Return the mean on test and on select, each with its gain; the gain on test with its interval as a bar."""
    total, found = len(results.categories), []
    for split, score, remark in (
        ("test", results.test, "took no part in any choice"),
        ("select", results.select, "chose the heads, so its gain is too good by construction"),
    ):
        if score is not None:
            found.append(
                {
                    "heading": f"{results.mean_name} on {split}, in %",
                    "change": cft_summary.change(score, 2),
                    "gain": _points(score.gain),
                    "bar": _bar(score.gain, score.interval),
                    "remark": f"{_scored(score, total)}; {split} {remark}",
                }
            )
    return found


def _bar(gain: float | None, interval: tuple[float, float] | None) -> dict[str, Any] | None:
    """Return an interval in words and where it and the gain lie on a scale of 0 to 100 with zero in the middle."""
    if gain is None or interval is None:
        return None
    reach = 1.15 * max(abs(gain), abs(interval[0]), abs(interval[1]), 1e-6)
    left, right, at = (round(50 + 50 * value / reach, 2) for value in (*interval, gain))
    return {"said": cft_summary.between(interval, 2), "left": left, "width": round(right - left, 2), "at": at}


def _points(value: float | None) -> str:
    return "–" if value is None else f"{cft_summary.signed(value, 2)} points"


def _scored(score: Score, total: int) -> str:
    if score.scored is None:
        return "mean over categories"
    return f"mean over {score.scored:,}" + (" categories" if score.scored == total else f" of {total:,} categories")


def _means(results: CftResults) -> list[dict[str, str]]:
    """Return the rows of the table of means: both ranking metrics on select beside test."""
    return [
        {
            "name": name,
            "select": cft_summary.change(select, 2),
            "select_gain": cft_summary.signed(select.gain, 2),
            "test": cft_summary.change(test, 2),
            "test_gain": cft_summary.signed(test.gain, 2),
            "interval": cft_summary.between(test.interval, 2),
        }
        for name, select, test in cft_summary.means_of(results)
    ]


def _calibration(results: CftResults) -> list[tuple[str, str, str, str]]:
    """Return (what, before, after, which way is better) of calibration on test."""
    found = mapping(mapping(results.raw.get("calibration")).get("test"))
    rows = []
    for key, name, remark in (
        ("ece", "ECE", "mean gap between probability and truth"),
        ("log_loss", "log-loss", "in nats a label"),
    ):
        before, after = number(found.get(f"{key}_before")), number(found.get(f"{key}_after"))
        if before is not None or after is not None:
            written = ["–" if value is None else f"{value:.4f}" for value in (before, after)]
            rows.append((name, *written, f"{remark}; lower is better"))
    return [(name, before, after, remark) for name, before, after, remark in rows]


def _row(results: CftResults, category: Category) -> dict[str, Any]:
    """Return one line of the table of categories."""
    threshold = category.threshold
    return {
        "name": category.name,
        "status": STATUS_TITLES[category.status],
        "tone": TONES[category.status],
        "reason": category.reason,
        "method": category.method or "–",
        "known": [
            cft_summary.count(n)
            for n in (category.known_positive, category.known_negative, category.unknown, category.uncertain)
        ],
        "select": cft_summary.change(category.select),
        "select_positives": cft_summary.count(category.select.positives),
        "test": cft_summary.change(category.test),
        "test_positives": cft_summary.count(category.test.positives),
        "gain": cft_summary.signed(results.gain(category)),
        "interval": ""
        if (ends := results.score(category).interval) in (None, (0.0, 0.0))
        else cft_summary.between(ends),
        "ece": ["–" if value is None else f"{value:.3f}" for value in category.ece],
        "threshold": None
        if threshold is None
        else {
            "at": "–" if threshold.probability is None else f"{threshold.probability:.3f}",
            "logit": "" if threshold.logit is None else f"logit {threshold.logit:.2f}".replace("-", "−"),
            "rule": threshold.rule,
            "precision": cft_summary.share(threshold.precision),
            "recall": cft_summary.share(threshold.recall),
            "specificity": cft_summary.share(threshold.specificity),
            "positives": cft_summary.count(threshold.positives),
            "split": threshold.split or "select",
        },
    }


def _evidence(results: CftResults, category: Category) -> dict[str, Any]:
    """Return the candidates of one category, best on select first; bars are relative to the largest share."""
    shares = [candidate.share or 0.0 for candidate in category.evidence]
    most = max([*shares, 1e-12])
    candidates = sorted(category.evidence, key=lambda c: (-(c.share or 0.0), -(c.select or 0.0)))
    return {
        "name": cft_summary.shorten(category.name, 80),
        "status": STATUS_TITLES[category.status],
        "reason": category.reason,
        "old": cft_summary.share(category.select.before, 2),
        "new": cft_summary.share(category.select.after, 2),
        "candidates": [
            {
                "name": candidate.name,
                "select": cft_summary.share(candidate.select, 2),
                "share": f"{100 * candidate.share:.0f}%" if candidate.share else "",
                "fill": round(100 * min(1.0, max(0.0, (candidate.share or 0.0) / most)), 1),
            }
            for candidate in candidates[:MOST_CANDIDATES]
        ],
        "more": max(0, len(candidates) - MOST_CANDIDATES),
    }


def _labels(results: CftResults) -> list[dict[str, Any]]:
    """Return how many labels every split has of each kind."""
    labels, splits = mapping(results.raw.get("labels")), mapping(results.raw.get("splits"))
    rows = []
    for split in ("fit", "select", "test"):
        counts, size = mapping(labels.get(split)), number(splits.get(split))
        if counts or size is not None:
            numbers = [number(counts.get(kind)) for kind in LABEL_KINDS]
            rows.append(
                {
                    "split": split,
                    "size": "–" if size is None else f"{size:,.0f}",
                    "known": cft_summary.share(number(counts.get("known"))),
                    "counts": ["–" if value is None else f"{value:,.0f}" for value in numbers],
                }
            )
    return rows


def _stages(results: CftResults) -> list[tuple[str, str]]:
    stages = mapping(results.raw.get("stages"))
    return [(name, f"{value:.2f} s") for name in stages if (value := number(stages[name])) is not None]


def _lineage(run: RunFolder, results: CftResults) -> list[tuple[str, str]]:
    """Return where the run comes from, as (what, value) pairs."""
    raw = results.raw
    pairs = [
        ("Command", run.run.get("command")),
        ("labelwise", run.run.get("version")),
        ("Objective", raw.get("objective")),
        ("Method", raw.get("method")),
        ("Preset", raw.get("preset")),
        ("Base head", raw.get("base")),
        ("Seed", raw.get("seed")),
        ("Features", raw.get("dim")),
        *((f"Environment: {key}", value) for key, value in mapping(run.run.get("environment")).items()),
        ("Run folder", run.name),
    ]
    return [(what, text(value)) for what, value in pairs if value is not None]
