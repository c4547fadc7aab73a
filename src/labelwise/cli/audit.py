"""Commands of the audit: the list of labels to look at, and corrections back in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from labelwise.cli.common import QuietOption, SetOption, app
from labelwise.errors import ConfigError


class _AuditGroup(TyperGroup):
    """``labelwise audit DATA`` is ``labelwise audit run DATA``: the first word is a command only if it is one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


audit_app = typer.Typer(no_args_is_help=True, cls=_AuditGroup, help="Find wrong labels, and put corrections back in.")
app.add_typer(audit_app, name="audit")


@audit_app.command(epilog="Example: labelwise audit photos/ --model resnet18 --out runs/audit   (run can be left out)")
def run(
    data: Annotated[str, typer.Argument(help="Data source, recipe, or refine run.", metavar="DATA|RUN")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/audit"),
    overrides: SetOption = None,
    quiet: QuietOption = False,
) -> None:
    """Rank all labels by how likely they are wrong: audit.csv, audit.parquet, audit.json and a page."""
    raise ConfigError("audit: not yet")


@audit_app.command(epilog="Example: labelwise audit apply runs/audit --corrections corrections.csv --out labels.csv")
def apply(
    audit: Annotated[Path, typer.Argument(help="Folder of a finished audit.", metavar="AUDIT")],
    out: Annotated[Path, typer.Option("--out", help="Table of labels to write, .csv.")] = Path("labels.csv"),
) -> None:
    """Write the labels with corrections: those of a reviewer, or of the scores above a threshold."""
    raise ConfigError("audit apply: not yet")
