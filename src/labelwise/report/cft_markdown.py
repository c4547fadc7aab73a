"""A run of category-wise fine-tuning as Markdown: what was found, the means, every category."""

import re

from labelwise.report import cft_summary
from labelwise.report.cft_read import STATUS_TITLES, Category, CftResults, parse_results
from labelwise.report.read import RunFolder, text

MOST_ROWS = 100
_SPECIAL = re.compile(r"([\\`*_\[\]<>|$&])")


def cft_markdown(run: RunFolder) -> str:
    """Return the verdict, the command and two tables (fractions in percent) as Markdown.

    Parameters
    ----------
    run : RunFolder
        As `labelwise.report.cft_read.read_cft_run` returns it.
    """
    results = parse_results(run.results)
    said = [
        cft_summary.verdict_of(results).sentence,
        cft_summary.overstatement_line(results),
        cft_summary.count_line(results),
        cft_summary.clear_line(results),
    ]
    lines = [
        f"**{escape(text(run.results.get('name')) or run.name)}**: {escape(', '.join(cft_summary.facts_of(results)))}.",
        "",
        escape(" ".join(line for line in said if line)),
        "",
    ]
    if command := " ".join(text(run.run.get("command")).split()):
        lines += [f"`{command.replace('`', '')}`", ""]
    lines += [f"- {escape(warning)}" for warning in cft_summary.warnings_of(results)]
    lines += [""] if cft_summary.warnings_of(results) else []
    return "\n".join([*lines, *_means(results), "", *_categories(results)]) + "\n"


def escape(value: str) -> str:
    """Return a text that Markdown shows as it is, on one line, also inside a table."""
    return _SPECIAL.sub(r"\\\1", " ".join(value.split()))


def _means(results: CftResults) -> list[str]:
    tested = results.test is not None
    lines = ["| mean | select | gain |" + (" test | gain | 95% interval |" if tested else "")]
    lines.append("|---|" + "---:|" * (5 if tested else 2))
    for name, select, test in cft_summary.means_of(results):
        cells = [escape(name), cft_summary.change(select, 2), cft_summary.signed(select.gain, 2)]
        if tested:
            cells += [cft_summary.change(test, 2), cft_summary.signed(test.gain, 2)]
            cells.append(cft_summary.between(test.interval, 2))
        lines.append(_line(cells))
    return lines


def _categories(results: CftResults) -> list[str]:
    tested = results.test is not None
    titles = ["category", "status", "known +", "known −", "unknown", f"{results.metric} select"]
    titles += [f"{results.metric} test", "gain", "95% interval", "test positives"] if tested else ["gain"]
    first, hidden, last = results.excerpt(MOST_ROWS)
    lines = [_line([*map(escape, titles), "why"]), "|---|---|" + "---:|" * (len(titles) - 2) + "---|"]
    lines += [_line(_cells(results, category)) for category in first]
    if hidden:
        lines.append(_line([f"… {len(hidden):,} more", *[""] * (len(titles) - 1), cft_summary.status_counts(hidden)]))
    return [*lines, *(_line(_cells(results, category)) for category in last)]


def _cells(results: CftResults, category: Category) -> list[str]:
    counts = (category.known_positive, category.known_negative, category.unknown)
    cells = [escape(category.name), STATUS_TITLES[category.status], *map(cft_summary.count, counts)]
    cells.append(cft_summary.change(category.select))
    if results.test is not None:
        cells.append(cft_summary.change(category.test))
    cells.append(cft_summary.signed(results.gain(category)))
    if results.test is not None:
        cells += [cft_summary.between(category.test.interval), cft_summary.count(category.test.positives)]
    return [*cells, escape(category.reason)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
