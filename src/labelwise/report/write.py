"""From a run folder to its report: a page, Markdown, or lines and tables on a terminal. Start at `write_report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from labelwise.errors import RunError
from labelwise.report import audit, cft, experiment, refine
from labelwise.report.audit_page import audit_context
from labelwise.report.cft_page import cft_context
from labelwise.report.compare import compare_context
from labelwise.report.experiment_page import PICTURE, TABLE, experiment_markdown, write_experiment
from labelwise.report.page import check_page_file, write_page
from labelwise.report.read import read_folder
from labelwise.report.refine_page import refine_context
from labelwise.report.table import Table, terminal
from labelwise.results import AuditResults, CftResults, ExperimentResults, RefineResults, read_results
from labelwise.runs import REPORT, RESULTS

Reported = RefineResults | CftResults | ExperimentResults | AuditResults


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder from that folder's files.

    Parameters
    ----------
    run : Path
        Folder of a finished run of `labelwise refine`, `train`, `cft`, `audit` or `experiment`.

    Returns
    -------
    Path
        The page. The same folder always gives the same bytes.

    Raises
    ------
    RunError
        ``results.json`` is missing, damaged or of a run without a report, or the page cannot be written.
    """
    run = Path(run)
    results, folder = _read(run), read_folder(run)
    if isinstance(results, ExperimentResults):
        return write_experiment(results, folder)
    if isinstance(results, CftResults):
        return write_page(run / REPORT, "cft.html.j2", cft_context(results, folder))
    if isinstance(results, AuditResults):
        return write_page(run / REPORT, "audit.html.j2", audit_context(results, folder))
    return write_page(run / REPORT, "refine.html.j2", refine_context(results, folder))


def compare_runs(runs: Sequence[Path], out: Path) -> Path:
    """Write one page with several runs side by side and return its path.

    Raises
    ------
    RunError
        No run is named, a run is neither of `labelwise refine` nor of `train`, its ``results.json`` cannot be used, or
        the page cannot be written.
    """
    if not runs:
        raise RunError("a comparison needs at least one run folder")
    check_page_file(out)
    found = []
    for run in runs:
        results = _read(run)
        if isinstance(results, ExperimentResults):
            raise RunError(f"{run}: an experiment is a comparison itself; name one alone, or some of its cells")
        if isinstance(results, CftResults | AuditResults):
            command = f"labelwise {results.kind}"
            raise RunError(f"{run}: a run of `{command}` has a report of its own and is not compared with others")
        found.append((results, read_folder(run)))
    return write_page(out, "compare.html.j2", compare_context(found))


def markdown_report(run: Path) -> str:
    """Return everything of a finished run that a page of results needs, as Markdown.

    Raises
    ------
    RunError
        ``results.json`` is missing, damaged or of a run without a report.
    """
    results, folder = _read(run), read_folder(run)
    if isinstance(results, ExperimentResults):
        return experiment_markdown(results, folder)
    if isinstance(results, CftResults):
        return cft.cft_markdown(results, folder)
    if isinstance(results, AuditResults):
        return audit.audit_markdown(results, folder)
    return refine.refine_markdown(results, folder)


def terminal_report(results: Reported) -> tuple[list[Table], list[str]]:
    """Return the tables of a run and what it found, in a few plain lines."""
    if isinstance(results, ExperimentResults):
        return experiment.terminal_tables(results), experiment.experiment_lines(results)
    if isinstance(results, CftResults):
        return [cft.category_table(cft.Run(results), "terminal")], cft.summary_lines(results)
    if isinstance(results, AuditResults):
        return audit.terminal_tables(results), audit.summary_lines(results)
    return [refine.results_table(results, brief=True)], refine.summary_lines(results)


def show(run: Path, console: Console) -> None:
    """Write the report of a finished run, and print its tables, what it found and where the page is.

    Raises
    ------
    RunError
        As `write_report`.
    """
    page, results = write_report(run), _read(run)
    tables, lines = terminal_report(results)
    # A narrower terminal folds the lines of a wide table, which loses less than cutting columns off.
    if isinstance(results, CftResults):
        console.width = max(console.width, cft.WIDTH)
    for table in tables:
        console.print(terminal(table))
    where = f"report: {page}"
    if isinstance(results, ExperimentResults):
        where = f"table: {run / TABLE}, picture: {run / PICTURE}, page: {page}"
    for line in [*lines, where]:
        console.print(line, soft_wrap=True)


def _read(run: Path) -> Reported:
    results = read_results(Path(run))
    if not isinstance(results, Reported):
        raise RunError(f"{run / RESULTS}: is of kind {results.kind!r}, which has no report")
    return results
