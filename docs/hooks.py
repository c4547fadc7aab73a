"""Pages of the documentation that are made from the code, so that they cannot go stale.

``reference/cli.md`` comes from the typer app, ``reference/recipe.md`` from the pydantic models of a recipe, and
``changelog.md`` is the changelog of the repository. Notebooks become pages with the output that is kept in them, so
that their links are checked like all others. MkDocs calls :func:`on_files` before it builds the site.
"""

from __future__ import annotations

import base64
import enum
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from labelwise.cli import app
from labelwise.config import CftConfig, Recipe
from labelwise.experiment.config import ExperimentConfig
from labelwise.settings import Section

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
Schema = dict[str, Any]


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the files of the site."""
    from mkdocs.structure.files import File

    for path, text in PAGES.items():
        files.append(File.generated(config, path, content=text()))
    for notebook in NOTEBOOKS:
        text, pictures = notebook_page(notebook)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that would load anything from the network."""
    if found := re.search(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"', output):
        from mkdocs.exceptions import PluginError

        raise PluginError(f"{page.file.src_path}: loads something from the network: {found[0]}")
    return output


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown with its output, and the pictures in it by file name."""
    parts, pictures = [], {}
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if picture := "".join(data.get("image/svg+xml", "")) or base64.b64decode(data.get("image/png", "")):
                name = f"{path.stem}-{len(pictures) + 1}.{'svg' if isinstance(picture, str) else 'png'}"
                pictures[name] = picture.encode() if isinstance(picture, str) else picture
                parts.append(f"![Figure of the cell above]({name})")
            elif printed := "".join(output.get("text", data.get("text/plain", ""))):
                parts.append(f"```text\n{printed.rstrip()}\n```")
    title, _, text = "\n\n".join(parts).partition("\n\n")
    note = f"*This page is a notebook with the output of a run: [download it]({path.name}).*"
    return f"{title}\n\n{note}\n\n{text}\n", pictures


def cli_page() -> str:
    """Every command with its arguments and options, from the functions that the app registers."""
    parts = ["# Commands", str(app.info.help), "`labelwise COMMAND --help` prints the same in a terminal."]
    for group, prefix in ((app, ""), *((found.typer_instance, f"{found.name} ") for found in app.registered_groups)):
        for command in group.registered_commands:
            name = command.name or command.callback.__name__.replace("_", "-")
            parts += _command(f"labelwise {prefix}{name}", command)
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any) -> list[str]:
    hints = typing.get_type_hints(command.callback, include_extras=True)
    words, arguments, options = [name], [], []
    for key, parameter in inspect.signature(command.callback).parameters.items():
        kind, info = typing.get_args(hints[key])[:2] if hasattr(hints[key], "__metadata__") else (hints[key], None)
        required = parameter.default is inspect.Parameter.empty
        if type(info).__name__ == "ArgumentInfo":
            words.append(str(info.metavar or key.upper()) if required else f"[{info.metavar or key.upper()}]")
            arguments.append(f"| `{words[-1]}` | {_cell(info.help)} |")
        else:
            named = [info.default, *info.param_decls]  # typer takes the first name for a default until it is asked
            flags = [name for name in named if isinstance(name, str) and name.startswith("-")]
            flags = ", ".join(flags) or "--" + key.replace("_", "-")
            unset = required or parameter.default is None or parameter.default is False
            default = "required" if required else "" if unset else f"`{parameter.default}`"
            options.append(f"| `{flags}` | {_values(kind)} | {default} | {_cell(info.help)} |")
    parts = [f"## {name}", inspect.getdoc(command.callback) or "", "    " + " ".join([*words, "[OPTIONS]"])]
    if arguments:
        parts.append("\n".join(["| argument | |", "|---|---|", *arguments]))
    if options:
        parts.append("\n".join(["| option | value | default | |", "|---|---|---|---|", *options]))
    example, _, note = command.epilog.removeprefix("Example: ").partition("   ")
    return [*parts, f"Example{' ' + note.strip() if note else ''}:", f"    {example}"]


def _values(kind: Any) -> str:
    """The type of an option in words."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(one for one in typing.get_args(kind) if one is not type(None))
    if typing.get_origin(kind) is list:
        return f"{_values(typing.get_args(kind)[0])}, repeatable"
    if typing.get_origin(kind) is typing.Literal:
        return " \\| ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if issubclass(kind, enum.Enum):
        return " \\| ".join(f"`{choice.value}`" for choice in kind)
    return {Path: "path", str: "text", int: "whole number", float: "number", bool: "flag"}[kind]


def recipe_page() -> str:
    """Every key of a recipe with its default, from the models that validate recipes."""
    intro = (
        "A recipe is a YAML file. Unknown keys are refused. Every key has a default, so a recipe names only what "
        "differs.\n"
        "`--set section.key=value` changes one key for one run. `labelwise refine --print-config` prints all keys with "
        "their values."
    )
    return _options("Recipe options", intro, Recipe)


def experiment_page() -> str:
    """Every key of a table of experiments."""
    intro = "The keys of the YAML file that `labelwise experiment` runs. `recipe` holds the keys that all cells share."
    return _options("Experiment options", intro, ExperimentConfig)


def cft_page() -> str:
    """Every option of category-wise fine-tuning."""
    intro = "What `labelwise cft F --set key=value` may change. Options with a flag of their own can be set so, too."
    return _options("Fine-tuning options", intro, CftConfig)


def _options(title: str, intro: str, section: type[Section]) -> str:
    schema = section.model_json_schema()
    return f"# {title}\n\n{intro}\n\n" + "\n".join(_sections("", schema, schema.get("$defs", {})))


def _sections(prefix: str, schema: Schema, definitions: dict[str, Schema]) -> list[str]:
    """The table of one section, then those of the sections inside it."""
    rows, inner = [], []
    for key, value in schema.get("properties", {}).items():
        full = f"{prefix}.{key}" if prefix else key
        below = _sections_in(value, definitions)
        if not below:
            text = _cell(value.get("description", ""))
            rows.append(f"| `{key}` | {_type(value, definitions)} | {_value(value)} | {text} |")
        elif value.get("type") == "array":
            rows.append(f"| `{key}` | list | `[]` | {_cell(value.get('description', ''))} (each: below) |")
            inner += _sections(f"{full}[]", below[0], definitions)
        else:
            inner += _alternatives(full, below, definitions)
    head = [
        f"## `{prefix}`" if prefix else "## Top level",
        "",
        _cell(schema.get("description", "").partition("\n\n")[0]),
        "",
    ]
    return ["\n".join([*head, *_table(rows)]), *inner]


def _alternatives(prefix: str, sections: list[Schema], definitions: dict[str, Schema]) -> list[str]:
    """A section that is one of several, such as data by format: what all have, then what each has besides."""
    if len(sections) == 1:
        return _sections(prefix, sections[0], definitions)
    shared = min(sections, key=lambda section: (len(section["properties"]), section["properties"]["format"]["default"]))
    parts = _sections(prefix, shared, definitions)
    for section in sections:
        own = {key: value for key, value in section["properties"].items() if key not in shared["properties"]}
        if own:
            [table] = _sections(prefix, {**section, "properties": own}, definitions)
            name = section["properties"]["format"]["default"]
            parts.append(table.replace(f"## `{prefix}`", f"## `{prefix}`, `format: {name}`", 1))
    return parts


def _table(rows: list[str]) -> list[str]:
    return ["| key | value | default | |", "|---|---|---|---|", *rows, ""] if rows else []


def _sections_in(value: Schema, definitions: dict[str, Schema]) -> list[Schema]:
    """The sections that a key may hold: one, one of several, or a list of them."""
    options = [value, value.get("items", {}), *value.get("anyOf", []), *value.get("oneOf", []), *value.get("allOf", [])]
    found = [definitions[option["$ref"].rpartition("/")[2]] for option in options if "$ref" in option]
    return [section for section in found if "properties" in section]


def _type(value: Schema, definitions: dict[str, Schema]) -> str:
    if "$ref" in value:
        return _type(definitions[value["$ref"].rpartition("/")[2]], definitions)
    if "enum" in value or "const" in value:
        return " \\| ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    if options := value.get("anyOf") or value.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(o, definitions) for o in options if o.get("type") != "null"))
    kind = value.get("type", "any")
    if kind == "array":
        items = [_type(item, definitions) for item in value.get("prefixItems", [])]
        return f"[low, high], each a {items[0]}" if items else f"list of {_type(value.get('items', {}), definitions)}"
    names = {"boolean": "true or false", "string": "text", "integer": "whole number", "object": "mapping"}
    limits = (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    )
    bounds = [f"{word} {value[key]:g}" for key, word in limits if key in value]
    return " ".join([names.get(kind, kind), " and ".join(bounds)]).strip()


def _value(value: Schema) -> str:
    if "default" not in value:
        return "`{}`" if value.get("type") == "object" else "required"
    default = value["default"]
    if default is None or default == "":
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _cell(text: str) -> str:
    """Text for one cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("``", "`")


def changelog() -> str:
    """The changelog of the repository."""
    return (ROOT / "CHANGELOG.md").read_text()


PAGES = {
    "reference/cli.md": cli_page,
    "reference/recipe.md": recipe_page,
    "reference/cft.md": cft_page,
    "reference/experiment.md": experiment_page,
    "changelog.md": changelog,
}
"""The generated pages by their place in the site."""
