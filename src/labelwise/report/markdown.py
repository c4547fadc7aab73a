"""The table of a run as Markdown, with the command and machine that made it: what docs/results is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelwise.report.cft_markdown import cft_markdown
from labelwise.report.cft_read import read_cft_run
from labelwise.report.experiment import experiment_markdown, read_experiment
from labelwise.runs import RESULTS, RUN, read_json

COLUMNS = (
    ("train crops", "fit_top1", True),
    ("select", "select_top1", True),
    ("test", "test_top1", True),
    ("train crops", "fit_map", True),
    ("select", "select_map", True),
    ("test", "test_map", True),
    ("NLL", "test_nll", False),
    ("ECE", "test_ece", True),
    ("human KL", "test_human_kl", False),
    ("noise AUROC", "noise_auroc", False),
    ("hidden mAP", "hidden_map", True),
    ("refined labels true", "refined_label_accuracy", True),
    ("seconds", "seconds", False),
)


def markdown_table(run: Path) -> str:
    """Everything of a finished run that a results page needs.

    Parameters
    ----------
    run : folder with ``results.json`` and ``run.json`` (a run of category-wise fine-tuning may be without the latter)

    Returns
    -------
    a paragraph, a table (fractions in percent, mean ± sample standard deviation over seeds) and the verdict

    Raises
    ------
    RunError
        If a file is missing or damaged.
    """
    if (table := read_experiment(run)) is not None:
        return experiment_markdown(table, read_json(run / RUN))
    if (found := read_cft_run(run)) is not None:
        return cft_markdown(found)
    results, about = read_json(run / RESULTS), read_json(run / RUN)
    data, machine, splits = about["data"], about["environment"], results["splits"]
    accuracy = data["given_label_accuracy"]
    wrong = "" if accuracy is None else f"; {1 - accuracy:.1%} of the given fit labels are wrong"
    lines = [
        f"{about['description'] or data['name']}. {splits['fit']} fit, {splits['select']} select, {splits['test']} test"
        f"{wrong}.",
        "",
        f"`{about['command']}`",
        "",
        f"torch {machine['torch']}, {machine['device']}, {machine['threads']} thread(s).",
        "",
    ]
    entries = results["summary"]
    shown = [column for column in COLUMNS if any(entry.get(column[1]) for entry in entries)]
    lines.append("| network | " + " | ".join(title for title, _, _ in shown) + " |")
    lines.append("|---|" + "---:|" * len(shown))
    for entry in entries:
        if entry["role"] != "member":
            lines.append(f"| {entry['name']} | " + " | ".join(_cell(entry.get(k), p) for _, k, p in shown) + " |")
    comparison, regime = results.get("comparison"), results.get("regime")
    lines += ["", comparison["sentence"]] if comparison else []
    lines += ["", f"What the run itself said ({regime['state']}): {regime['advice']}"] if regime else []
    return "\n".join(lines) + "\n"


def _cell(stat: dict[str, Any] | None, percent: bool) -> str:
    if not stat or stat["mean"] is None:
        return ""
    scale, digits = (100, 2) if percent else (1, 1 if stat["mean"] >= 10 else 3)
    text = f"{scale * stat['mean']:.{digits}f}"
    return text if stat["std"] is None else f"{text} ± {scale * stat['std']:.{digits}f}"
