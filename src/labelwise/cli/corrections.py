"""Commands that put an audit to use: its list to other tools, and corrections back in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from labelwise.cli.audit import audit_app
from labelwise.cli.common import make_console
from labelwise.errors import ConfigError

AuditArgument = Annotated[Path, typer.Argument(help="Folder of a finished audit.", metavar="AUDIT")]


@audit_app.command(epilog="Example: labelwise audit apply runs/audit --corrections corrections.csv --out labels.csv")
def apply(
    audit: AuditArgument,
    corrections: Annotated[
        list[Path] | None,
        typer.Option(
            "--corrections",
            help="Table (id, label; multi-label: id, category, label), or the JSON export of Label Studio or FiftyOne. "
            "May be given several times.",
        ),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option("--above", min=0, max=1, help="Take the suggestion where the score is at least that."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Table of labels to write, .csv.")] = Path("labels.csv"),
) -> None:
    """Write the labels with corrections: those of a reviewer, or of the scores above a threshold.

    The data stay as they are. A recipe takes the table as data.labels.file.
    """
    if not corrections and above is None:
        raise ConfigError("audit apply: nothing to apply; give --corrections FILE, or --above 0.95, or both")
    from labelwise.audit.corrections import apply_corrections, read_corrections, write_labels
    from labelwise.audit.finished import open_audit

    found = open_audit(audit)
    made = [one for path in corrections or [] for one in read_corrections(path, found)]
    labels = apply_corrections(found, made, above)
    write_labels(labels, out)
    make_console().print(f"{labels.in_words()} -> {out}", soft_wrap=True, highlight=False)


@audit_app.command(epilog="Example: labelwise audit export runs/audit --to label-studio --out tasks.json")
def export(
    audit: AuditArgument,
    to: Annotated[Literal["label-studio", "fiftyone"], typer.Option("--to", help="The tool.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .json.")],
    first: Annotated[
        int | None,
        typer.Option("--first", min=1, help="Number of samples. Default: all that are not called correct."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            help="Folder that images are named from. Default: the one they have in common; for Label Studio the folder "
            "above it.",
        ),
    ] = None,
) -> None:
    """Write the top of the list for Label Studio or FiftyOne, where people review it.

    Bring the result back with `labelwise audit apply --corrections`.
    """
    from labelwise.audit.exchange import default_root, write_export
    from labelwise.audit.finished import open_audit
    from labelwise.audit.questions import questions

    found = open_audit(audit)
    root = root or default_root(found, to)
    asked = questions(found, root, first)
    files = write_export(found, asked, to, out)
    console = make_console()
    console.print(f"{len(asked):,} samples -> {' and '.join(map(str, files))}", soft_wrap=True, highlight=False)
    console.print(f"images are named from {root.absolute()}", soft_wrap=True, highlight=False)
