"""How options are read: YAML, ``--set key.sub=value``, environment variables, and errors of one line.

What the options are stands where they are used: :mod:`labelwise.config` for recipes, others beside their commands.
"""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Tag, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from labelwise.errors import ConfigError


class Section(BaseModel):
    """A part of the configuration: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """``epochs: true`` would be read as 1."""
        if isinstance(value, bool) and _may_be_number(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"expected a number, got {_shown(value)}")
        return value


S = TypeVar("S", bound="Section")


def read_mapping(file: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping of sections.

    Raises
    ------
    ConfigError
        If it is missing, not YAML, or something else.
    """
    try:
        values = _copied(yaml.load(file.read_text(), _Loader))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such recipe") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected a mapping of sections, got a {type(values).__name__}")
    return values


def resolve(
    root: type[S],
    values: dict[str, Any],
    overrides: Sequence[str] = (),
    prefix: str = "",
    verbatim: Sequence[str] = (),
) -> S:
    """Apply ``key.sub=value`` overrides, put in environment variables (but under the keys ``verbatim``), validate.

    Raises
    ------
    ConfigError
        With the key's full name (after ``prefix``), its value and what is allowed.
    """
    values = _copied(values)
    for override in overrides:
        _apply_override(values, override)
    expanded = _expand({key: value for key, value in values.items() if key not in verbatim}, prefix)
    try:
        return root.model_validate(expanded | {key: values[key] for key in verbatim if key in values})
    except ValidationError as error:
        raise ConfigError(_describe(error, root, prefix)) from None


def dump_yaml(settings: Section) -> str:
    """Resolved settings as YAML, every default spelled out; they can be loaded again."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def changed(options: Section, without: set[str] | None = None) -> dict[str, Any]:
    """The options that are not at their default: what is said about a run does not change when a later version has one
    option more."""
    return options.model_dump(mode="json", exclude=without, exclude_defaults=True)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand once, and only true and false are booleans (as in YAML 1.2).

    Otherwise the last of two equal keys would win in silence, and ``memory: no`` would not be the word "no".
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Before ``<<`` merges other mappings in, whose keys may stand here, too."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return node


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _copied(value: Any, around: tuple[int, ...] = ()) -> Any:
    """A copy in which no two places share a mapping, as those of a YAML alias do: an override changes one alone.

    Raises
    ------
    ValueError
        If a value holds itself; ``around`` are the ids of the values that it lies in.
    """
    if not isinstance(value, dict | list):
        return value
    if id(value) in around:
        raise ValueError("an alias (*name) lies inside the value that it names; write the value out")
    around = (*around, id(value))
    if isinstance(value, list):
        return [_copied(item, around) for item in value]
    return {key: _copied(item, around) for key, item in value.items()}


def _expand(value: Any, key: str) -> Any:
    """Replace ``${NAME}`` by the environment variable in every string, so that recipes hold no machine's paths."""
    if isinstance(value, dict):
        return {k: _expand(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, f"{key}.{i}") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    missing = [name for name in re.findall(r"\$\{(\w+)\}", value) if name not in os.environ]
    if missing:
        raise ConfigError(f"{key}: {value!r} needs the environment variable {missing[0]}, which is not set")
    return re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], value)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override}: write it as section.key=value")
    try:
        value = _copied(yaml.load(text, _Loader))
    except (yaml.YAMLError, ValueError, RecursionError):  # such as a date that is none, or a list in itself
        raise ConfigError(f"--set {override}: the value is not valid YAML") from None
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        child = node.setdefault(parent, {})
        if isinstance(child, list):
            raise ConfigError(f"--set {override}: {parent} is a list; give the whole list")
        if not isinstance(child, dict):
            child = node[parent] = {}
        node = child
    node[last] = value


def _describe(error: ValidationError, root: type[Section], prefix: str) -> str:
    """The first problem of a pydantic error in one line; the number of further ones."""
    problems = error.errors(include_url=False)
    places = [_place(root, problem["loc"]) for problem in problems]
    first, (keys, section) = problems[0], places[0]
    key = ".".join(filter(None, [prefix, *keys]))
    if first["type"] == "extra_forbidden":
        allowed = sorted(section.model_fields)
        close = difflib.get_close_matches(keys[-1], allowed, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        text = f"unknown key {key!r} (value {first['input']!r}).{hint} Allowed: {', '.join(allowed)}"
    elif first["type"] == "missing":
        text = f"{key}: this key is required"
    elif first["type"] == "value_error":
        words = str(first["ctx"]["error"])
        text = words if key and words.startswith(f"{key}.") else ": ".join(filter(None, [key, words]))
    else:  # a value may take several forms, each of which has its own problem
        forms = [_expected(problem) for problem, place in zip(problems, places, strict=True) if place[0] == keys]
        text = f"{key}: expected {', or '.join(dict.fromkeys(forms))}, got {_shown(first['input'])}"
    more = len({tuple(place) for place, _ in places}) - 1
    return text + (f" (and {more} more problem{'s' if more > 1 else ''})" if more else "")


def _expected(problem: ErrorDetails) -> str:
    """What pydantic wanted in place of a value, in the words of YAML."""
    for start, words in _WORDS.items():
        if problem["type"].startswith(start):
            return words
    number = "a number " if problem["type"].startswith(("greater", "less")) else ""
    return number + problem["msg"].removeprefix("Input should ").removeprefix("be ").replace("String should", "text to")


_WORDS = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_": "a mapping of keys",
    "finite_number": "a finite number",
}


def _shown(value: Any) -> str:
    """A value as YAML writes it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)


def _place(root: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel]]:
    """The keys that lead to a problem, and the innermost section on the way."""
    keys: list[str] = []
    section, members = root, dict[str, type[BaseModel]]()
    for part in location:
        if part in members:  # pydantic names the member of a union, which is not a key
            section, members = members[str(part)], {}
            continue
        if "[" in str(part):  # so does a plain type
            continue
        keys.append(str(part))
        field = section.model_fields.get(str(part))
        members = {} if field is None else _members(field.annotation)
        section = next(iter(members.values()), section)
    return keys, section


def _members(annotation: Any) -> dict[str, type[BaseModel]]:
    """The sections in ``X``, ``X | None``, ``tuple[X, ...]`` or a union of tagged sections, each by its tag."""
    found: dict[str, type[BaseModel]] = {}
    for member in (annotation, *get_args(annotation)):
        tag = next((m.tag for m in getattr(member, "__metadata__", ()) if isinstance(m, Tag)), "")
        plain = get_args(member)[0] if tag else member
        if isinstance(plain, type) and issubclass(plain, Section):
            found[tag] = plain
    return found


def _may_be_number(annotation: Any) -> bool:
    """Whether an annotation takes a number as it is, and not only inside a list or mapping."""
    if typing.get_origin(annotation) in (None, Annotated, Literal, typing.Union, types.UnionType):
        return annotation in (int, float) or type(annotation) is int or any(map(_may_be_number, get_args(annotation)))
    return False
