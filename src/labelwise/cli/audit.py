"""Commands of the audit: the list of labels to look at, and corrections back in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from labelwise.cli.common import QuietOption, SetOption, TrustCodeOption, app, make_console
from labelwise.config import AuditConfig, Recipe
from labelwise.errors import ConfigError
from labelwise.settings import resolve


class _AuditGroup(TyperGroup):
    """``labelwise audit DATA`` is ``labelwise audit run DATA``: the first word is a command only if it is one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


audit_app = typer.Typer(no_args_is_help=True, cls=_AuditGroup, help="Find wrong labels, and put corrections back in.")
app.add_typer(audit_app, name="audit")


@audit_app.command(
    epilog="Example: labelwise audit run photos/ --model resnet18 --out runs/audit   (the word run can be left out)"
)
def run(
    data: Annotated[
        str,
        typer.Argument(
            help="Data source, recipe, refine run with fold networks, or file of out-of-sample probabilities.",
            metavar="DATA|RUN|ANSWERS",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/audit"),
    model: Annotated[str | None, typer.Option("--model", help="The network that answers; images need one.")] = None,
    folds: Annotated[int | None, typer.Option("--folds", min=2, help="Number of folds. Default: 5.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Images: networks per fold. Default: 2.")] = None,
    views: Annotated[int | None, typer.Option("--views", min=1, help="Images: views per network. Default: 4.")] = None,
    overrides: SetOption = None,
    trust_code: TrustCodeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Rank all labels by how likely they are wrong: audit.csv, audit.parquet, audit.json and a page.

    Options of the audit are set by --set audit.KEY=VALUE, all others are those of a recipe. An interrupted audit
    continues where it stopped.
    """
    own = [change.removeprefix("audit.") for change in overrides or [] if change.startswith("audit.")]
    given = {"folds": folds, "seeds": seeds, "views": views}
    config = resolve(AuditConfig, {key: value for key, value in given.items() if value is not None}, own, "audit")
    others = [change for change in overrides or [] if not change.startswith("audit.")]
    for change in others:
        if change.partition("=")[0] in set(AuditConfig.model_fields) - set(Recipe.model_fields):
            raise ConfigError(f"--set {change}: an option of the audit; write --set audit.{change}")
    from labelwise.audit.run import run_audit

    run_audit(config, data, out, model=model, overrides=others, trust_code=trust_code, quiet=quiet)
    from labelwise.report.audit import worst_table
    from labelwise.report.table import terminal
    from labelwise.report.write import show

    console = make_console()
    console.print(terminal(worst_table(out)))
    console.print(f"the whole list: {out / 'audit.csv'}", soft_wrap=True, highlight=False)
    show(out, console)
