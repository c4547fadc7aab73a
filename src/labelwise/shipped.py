"""The recipes that come with the package: they have names, such as ``digits/noise40``, and can be read and copied."""

from __future__ import annotations

import difflib
from pathlib import Path

from labelwise.errors import ConfigError

_SUFFIX = ".yaml"


def recipes() -> dict[str, Path]:
    """The file of every recipe and every table, by name."""
    inside = Path(__file__).parent / "recipes"
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "recipes"  # of a checkout
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob(f"*{_SUFFIX}"))}


def recipe_file(name: str) -> Path:
    """The file of a recipe by its name.

    Raises
    ------
    ConfigError
        If there is none, with those that are called alike.
    """
    known = recipes()
    if (found := known.get(name.removesuffix(_SUFFIX))) is None:
        alike = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {', '.join(alike)}?" if alike else "`labelwise recipes list` names all"
        raise ConfigError(f"recipes: there is no {name!r}; {hint}")
    return found


def by_name(path: Path) -> Path:
    """A path of the user's as it is; if nothing lies there and a recipe of the package is called so, that one."""
    return path if path.exists() else recipes().get(path.as_posix(), path)


def in_a_line(file: Path) -> str:
    """What a recipe is for: its description, or its first comment that is no command."""
    text = file.read_text().splitlines()
    told = [line.partition(":")[2].strip(" >|-'\"") for line in text if line.startswith("description:")]
    notes = [line.lstrip("# ") for line in text if line.startswith("#") and "labelwise " not in line]
    return next(filter(None, [*told, *notes]), "")


def copy_recipe(name: str, out: Path | None) -> Path:
    """Write a copy of a recipe for changes: to ``out``, or to its own file name in the working folder.

    Raises
    ------
    ConfigError
        If there is no such recipe, or something lies where the copy is to be.
    """
    file = recipe_file(name)
    target = out or Path(file.name)
    target = target / file.name if target.is_dir() else target
    if target.exists():
        raise ConfigError(f"recipes copy: {target} is there already; give another --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(file.read_text())
    return target
