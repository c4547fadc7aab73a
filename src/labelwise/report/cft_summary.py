"""What a run of category-wise fine-tuning says in words and short numbers: for the page, the terminal and Markdown.

`select` chose the heads, so its gain is too good by construction; `test` is what the words go by.
"""

import unicodedata
from collections.abc import Iterable

from labelwise.report.cft_read import STATUS_TITLES, STATUSES, Category, CftResults, Score
from labelwise.report.read import mapping, number, sequence, text
from labelwise.report.summary import Verdict, duration

MOST_REASONS = 12
MOST_NAMES = 12


def share(value: float | None, digits: int = 1) -> str:
    """Write a fraction in percent, without the sign; a missing number is a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def count(value: int | None) -> str:
    """Write a count; a missing number is a dash."""
    return "–" if value is None else f"{value:,}"


def signed(value: float | None, digits: int = 1) -> str:
    """Write a difference of fractions in percentage points with its sign; nothing is ever minus zero."""
    if value is None:
        return "–"
    written = f"{100 * value:+.{digits}f}"
    return f"{0:.{digits}f}" if not written.strip("+-0.") else written.replace("-", "−")


def change(score: Score, digits: int = 1) -> str:
    """Write before and after."""
    if score.before is None and score.after is None:
        return "–"
    return f"{share(score.before, digits)} → {share(score.after, digits)}"


def between(interval: tuple[float, float] | None, digits: int = 1) -> str:
    """Write an interval of a gain."""
    return "–" if interval is None else f"{signed(interval[0], digits)} to {signed(interval[1], digits)}"


def verdict_of(results: CftResults) -> Verdict:
    """Return whether the new heads are better on test, and how sure that is."""
    name, test = results.mean_name, results.test
    if test is None:
        said = f"{name} on select: {_told(results.select)}. " if results.select.gain is not None else ""
        said += "This run has no test split: select chose the heads and nothing independent was measured."
        return Verdict("open", "not measured independently", said)
    if test.gain is None:
        return Verdict("open", "not scored", "No category could be scored on test, so nothing is known about the gain.")
    sentence = f"{name} on test: {_told(test)}"
    if test.interval is None:
        return Verdict("open", "no interval", f"{sentence}, without an interval.")
    sentence += f" (95% interval {between(test.interval, 2)})."
    if test.interval[0] > 0:
        return Verdict("gain", "better on test", sentence)
    if test.interval[1] < 0:
        return Verdict("loss", "worse on test", sentence)
    if test.interval == (0.0, 0.0):
        return Verdict("mixed", "no change on test", f"{sentence} The scores are the same as before.")
    return Verdict("mixed", "no clear gain on test", f"{sentence} The interval includes 0: this may be chance.")


def overstatement_of(results: CftResults) -> float | None:
    """Return the gain on select minus the gain on test; None where one of them is missing."""
    select, test = results.select.gain, None if results.test is None else results.test.gain
    return None if select is None or test is None else select - test


def overstatement_line(results: CftResults) -> str:
    """Say by how much the split that chose is too optimistic; nothing where that was not measured."""
    over = overstatement_of(results)
    if over is None or results.test is None:
        return ""
    line = f"On select, which chose the heads, {results.mean_name} gained {signed(results.select.gain, 2)} points: "
    if abs(over) < 5e-5:
        line += "as much as on test."
    elif over > 0:
        line += f"select overstates the gain by {share(over, 2)} points."
    else:
        line += f"select understates it by {share(-over, 2)} points here."
    scored = results.select.scored, results.test.scored
    if None not in scored and scored[0] != scored[1]:
        line += (
            f" The means are over {scored[0]:,} categories on select and {scored[1]:,} on test, "
            "so part of the difference is one of categories."
        )
    return line


def count_line(results: CftResults) -> str:
    """Say how many categories got a new head, kept the old one or could not be fitted, and in what time."""
    counts = results.counts
    total = sum(counts.values())
    line = f"Of {total:,} categor{'y' if total == 1 else 'ies'}, {counts['improved']:,} improved (on select), "
    line += f"{counts['unchanged']:,} kept the old head and {counts['not_fitted']:,} could not be fitted"
    seconds = number(results.raw.get("seconds"))
    return f"{line}, in {duration(seconds)}." if seconds is not None else f"{line}."


def clear_line(results: CftResults) -> str:
    """Say what test makes of the categories that improved on select; nothing without a test split."""
    known = [c.test.interval for c in results.categories if c.status == "improved" and c.test.interval is not None]
    if results.test is None or not known:
        return ""
    up, down = sum(low > 0 for low, _ in known), sum(high < 0 for _, high in known)
    return (
        f"Of the {len(known):,} improved categories that test can judge, {up:,} are clearly better there (95% interval "
        f"above 0), {down:,} clearly worse, {len(known) - up - down:,} cannot be told from no change."
    )


def warnings_of(results: CftResults) -> list[str]:
    """Return the warnings of the run."""
    return [said for item in sequence(results.raw.get("warnings")) if (said := text(item).strip())]


def reasons_of(results: CftResults, status: str) -> list[tuple[str, int, list[str]]]:
    """Return (reason, how many categories, the first of their names) for one status, commonest reason first.

    Reasons beyond `MOST_REASONS` are put together in a last entry.
    """
    groups: dict[str, list[str]] = {}
    for category in results.categories:
        if category.status == status:
            groups.setdefault(category.reason or "no reason given", []).append(shorten(category.name, 60))
    order = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    found = [(reason, len(names), names[:MOST_NAMES]) for reason, names in order[:MOST_REASONS]]
    rest = [name for _, names in order[MOST_REASONS:] for name in names]
    return [*found, ("other reasons", len(rest), rest[:MOST_NAMES])] if rest else found


def facts_of(results: CftResults) -> list[str]:
    """Return what the run is, in a few short phrases."""
    raw = results.raw
    splits = mapping(raw.get("splits"))
    base = text(raw.get("base"))
    dim, seed = number(raw.get("dim")), number(raw.get("seed"))
    method, preset = text(raw.get("method")), text(raw.get("preset"))
    sizes = [f"{n:,.0f} {name}" for name in ("fit", "select", "test") if (n := number(splits.get(name)))]
    total = len(results.categories)
    return [
        fact
        for fact in (
            f"objective {results.metric}",
            f"method {method}" + (f", preset {preset}" if preset else "") if method else "",
            {"given": "head as given", "": ""}.get(base, f"head fitted first ({base})"),
            f"{total:,} categor{'y' if total == 1 else 'ies'}",
            f"{dim:,.0f} features" if dim else "",
            " · ".join(sizes),
            f"seed {seed:.0f}" if seed is not None else "",
        )
        if fact
    ]


def means_of(results: CftResults) -> list[tuple[str, Score, Score]]:
    """Return (name, on select, on test) of the ranking metrics, the objective first."""
    means = [(results.mean_name, results.select, results.test or Score())]
    return means if results.other is None else [*means, results.other]


def status_counts(categories: Iterable[Category]) -> str:
    """Write how many categories have each status, such as ``3 improved, 2 kept``."""
    own = [category.status for category in categories]
    return ", ".join(f"{own.count(status):,} {STATUS_TITLES[status]}" for status in STATUSES if status in own)


def columns(name: str) -> int:
    """Return the width of a text in columns: East Asian wide letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


def shorten(name: str, most: int) -> str:
    """Cut a text that is wider than `most` columns and say so with an ellipsis."""
    if columns(name) <= most:
        return name
    kept = ""
    for letter in name:
        if columns(kept + letter) >= most:
            break
        kept += letter
    return kept.rstrip() + "…"


def _told(score: Score) -> str:
    return f"{share(score.before, 2)}% → {share(score.after, 2)}%, {signed(score.gain, 2)} points"
