"""Commands of the recipes that come with the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from labelwise import shipped
from labelwise.cli.common import app, make_console

recipes_app = typer.Typer(no_args_is_help=True, help="List, show and copy the recipes that come with labelwise.")
app.add_typer(recipes_app, name="recipes")


def _begun_with(incomplete: str) -> list[str]:
    return [name for name in shipped.recipes() if name.startswith(incomplete)]


NameArgument = Annotated[
    str,
    typer.Argument(help="Name of a recipe, such as digits/noise40.", metavar="RECIPE_NAME", autocompletion=_begun_with),
]


@recipes_app.command("list", epilog="Example: labelwise recipes list")
def list_() -> None:
    """Print the names of all recipes and tables. `refine`, `train` and `experiment` take them in place of a file."""
    known = shipped.recipes()
    width = max(map(len, known))
    for name, file in known.items():
        line = f"{name:<{width}}  {shipped.in_a_line(file)}".rstrip()
        make_console().print(line, no_wrap=True, overflow="ellipsis", highlight=False)


@recipes_app.command(epilog="Example: labelwise recipes show digits/noise40")
def show(name: NameArgument) -> None:
    """Print a recipe as it stands, with its comments."""
    sys.stdout.write(shipped.recipe_file(name).read_text())


@recipes_app.command(epilog="Example: labelwise recipes copy digits/noise40 --out mine.yaml")
def copy(
    name: NameArgument,
    out: Annotated[Path | None, typer.Option("--out", help="File to write. Default: RECIPE.yaml, here.")] = None,
) -> None:
    """Copy a recipe to a file that you can change."""
    make_console().print(f"{name} -> {shipped.copy_recipe(name, out)}", soft_wrap=True, highlight=False)
