"""Write the report of a run, or of several side by side: one HTML file each, without network and without script.

Start at `write_report`.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelwise.errors import RunError
from labelwise.report import figures, summary
from labelwise.report.cft import cft_context
from labelwise.report.cft_read import read_cft_run
from labelwise.report.compare import compare_context
from labelwise.report.experiment import read_experiment, write_tables
from labelwise.report.page import render, write_page
from labelwise.report.parts import facts_of, interval_picture, tiles_of, title_of
from labelwise.report.read import GalleryItem, RunFolder, mapping, number, read_run, row_key, sequence, text
from labelwise.runs import check_out_file

SMALL_PICTURE = 64
MOST_CARDS = 60


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder from that folder's files.

    Parameters
    ----------
    run : Path
        Folder of a finished run, of which only ``results.json`` must be there, or of an experiment.

    Returns
    -------
    Path
        The page. The same folder always gives the same bytes.

    Raises
    ------
    RunError
        ``results.json`` is missing or broken, or the page cannot be written.
    """
    run = Path(run)
    if (table := read_experiment(run)) is not None:
        return write_tables(table, run)[-1]
    if (found := read_cft_run(run)) is not None:
        return write_page(run / "report.html", render("cft.html.j2", cft_context(found)))
    return write_page(run / "report.html", render("report.html.j2", _report_context(read_run(run))))


def compare_runs(runs: Sequence[Path], out: Path) -> Path:
    """Write one page with several runs side by side and return its path.

    Raises
    ------
    RunError
        No run is named, a run is an experiment or a category-wise fine-tuning, its ``results.json`` cannot be used, or
        the page cannot be written.
    """
    if not runs:
        raise RunError("a comparison needs at least one run folder")
    if out.suffix != ".html":
        raise RunError(f"--out {out}: the page is a file, whose name ends in .html")
    check_out_file(out, "a page", lambda text: text.lstrip().lower().startswith("<!doctype html"))
    for run in runs:
        if read_experiment(Path(run)) is not None:
            raise RunError(f"{run}: an experiment is a comparison itself; name one alone, or some of its cells")
        if read_cft_run(Path(run)) is not None:
            raise RunError(f"{run}: a run of `labelwise cft` has a report of its own and is not compared with others")
    return write_page(Path(out), render("compare.html.j2", compare_context([read_run(Path(run)) for run in runs])))


def _report_context(run: RunFolder) -> dict[str, Any]:
    results, data = run.results, mapping(run.run.get("data"))
    entries = summary.entries_of(results)
    regime = mapping(results.get("regime"))
    changes = figures.class_changes(results)
    places = list(figures.generations(results))
    return {
        "title": title_of(run),
        "facts": facts_of(run),
        "verdict": summary.verdict_of(results),
        "regime_lines": summary.regime_lines(results),
        "noise_lines": summary.noise_lines(run.run),
        "simulated": bool(data.get("simulated_noise")),
        "tiles": tiles_of(results, entries),
        "interval": interval_picture(results),
        "groups": [(title, [e for e in entries if e.role == role]) for role, title in summary.ROLE_TITLES.items()],
        "columns": summary.columns(results, entries),
        "seeds": max((entry.seeds for entry in entries), default=0),
        "accuracy": figures.accuracy_picture(results, entries),
        "beliefs": figures.belief_pictures(results, entries),
        "curves": figures.curve_pictures(run, entries),
        "changes": changes,
        "change_picture": figures.change_picture(changes, summary.words_of(results)),
        "words": summary.words_of(results),
        "metric": summary.metric_of(results)[1],
        "first_generation": places[0] if places else None,
        "last_generation": places[-1] if places else None,
        "state": text(regime.get("state")),
        "states": summary.STATES,
        "regime_text": summary.REGIMES.get(text(regime.get("state")), ""),
        "gap": number(regime.get("gap")),
        "gallery": _gallery(run),
        "rows": _row_table(results),
        "lineage": _lineage(run),
        "unreadable": [text(item) for item in sequence(data.get("unreadable"))],
        "config": run.config,
        "notes": run.notes,
    }


def _gallery(run: RunFolder) -> dict[str, Any] | None:
    """Return the gallery as the page shows it, with how often each side is right where the truth is known."""
    if run.gallery is None:
        return None
    cards = [_card(item) for item in run.gallery.items[:MOST_CARDS]]
    known = [card for card in cards if card["true"] is not None]
    return {
        "refinery": run.gallery.refinery,
        "seed": run.gallery.seed,
        "cards": cards,
        "differ": sum(card["differs"] for card in cards),
        "known": len(known),
        "refined_right": sum(card["refined"] == card["true"] for card in known),
        "given_right": sum(card["given"] == card["true"] for card in known),
    }


def _card(item: GalleryItem) -> dict[str, Any]:
    refined = item.top[0][0] if item.top else None
    picture = None
    if item.picture is not None:
        picture = "data:image/png;base64," + base64.b64encode(item.picture).decode("ascii")
    return {
        "id": item.name,
        "given": item.given,
        "true": item.true,
        "refined": refined,
        "differs": refined is not None and refined != item.given,
        "top": item.top,
        "divergence": item.divergence,
        "picture": picture,
        "pixelated": max(item.width, item.height) < SMALL_PICTURE,
    }


def _row_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every single network, unaveraged."""
    metric = summary.metric_of(results)[0]
    found = []
    for row in results["rows"]:
        speed, epochs, kept = (number(row.get(key)) for key in ("images_per_second", "epochs", "kept_epoch"))
        found.append(
            {
                "name": row_key(row)[0],
                "seed": row_key(row)[1],
                "model": text(row.get("model")),
                "labels": text(row.get("labels")),
                "epochs": "–"
                if epochs is None
                else f"{epochs:.0f}" + (f" (kept {kept:.0f})" if kept is not None else ""),
                "select": summary.row_number(row, f"select_{metric}"),
                "test": summary.row_number(row, f"test_{metric}"),
                "top5": summary.row_number(row, "test_top5"),
                "entropy": "–" if (h := summary.row_number(row, "fit_entropy")) is None else f"{h:.3f}",
                "speed": "–" if speed is None else f"{speed:,.0f}",
            }
        )
    return found


def _lineage(run: RunFolder) -> list[tuple[str, str]]:
    """Return where the run comes from, as (what, value) pairs."""
    data, environment = mapping(run.run.get("data")), mapping(run.run.get("environment"))
    pairs = [
        ("Command", run.run.get("command")),
        ("labelwise", run.run.get("version")),
        ("Recipe hash", run.run.get("recipe_hash")),
        ("Data", data.get("name")),
        ("Data fingerprint", data.get("fingerprint")),
        ("Simulated noise", data.get("simulated_noise")),
        *((f"Environment: {key}", value) for key, value in environment.items()),
        ("Run folder", run.name),
    ]
    return [(what, text(value)) for what, value in pairs if value is not None]
