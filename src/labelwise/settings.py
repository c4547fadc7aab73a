"""How options are read: YAML, ``--set key.sub=value``, environment variables, and errors of one line.

What the options are stands where they are used: :mod:`labelwise.config` for recipes, others beside their commands.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import types
import typing
from collections.abc import Iterator, Sequence
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

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_as_names(cls, value: Any, info: ValidationInfo) -> Any:
        """Columns, categories and files may be called 1 and 2; a list of texts may be a single one."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if annotation == _TEXTS:
            value = (value,) if isinstance(value, str | int) else value
            return tuple(map(_as_name, value)) if isinstance(value, list | tuple) else value
        return _as_name(value) if annotation in _TEXT else value


S = TypeVar("S", bound="Section")

_TEXT = (str, str | None)
_TEXTS = tuple[str, ...]
_MOST_VALUES = 100_000


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
        words = " ".join(str(error).replace(' in "<unicode string>"', "").split())
        hint = (
            "; text that begins with such a sign stands in quotes"
            if isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError)
            else ""
        )
        raise ConfigError(f"{file}: not valid YAML: {words}{hint}") from None
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
        _apply_override(values, override, root)
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
        seen = set[str]()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise _problem(f"the key {key.value!r} is given twice", node.start_mark)
            if key.value in _NEVER_EMPTY and value.value == "" and value.style not in ("'", '"'):
                raise _problem(
                    f"{key.value} has no value; write text such as ' ', '#' or '|' in quotes", key.start_mark
                )
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what ``<<`` names, which may be merged from others in turn."""
        super().flatten_mapping(node)
        if len(node.value) > _MOST_VALUES:
            raise _problem(f"more than {_MOST_VALUES:,} keys are merged by <<", node.start_mark)


def _problem(words: str, mark: yaml.Mark) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, words, mark)


_NEVER_EMPTY = ("label_separator",)  # YAML takes a bare space or # for nothing, and | for the start of a text
_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in (f"{_TAG}bool", f"{_TAG}int", f"{_TAG}timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
# 007 and 12:30 are names; where a number is wanted, pydantic reads it from the text.
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"^-?(0|[1-9][0-9]*)$"), list("-0123456789"))


def _as_name(value: Any) -> Any:
    """A whole number as the text that was written."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _copied(value: Any) -> Any:
    """A copy in which no two places share a mapping, as those of a YAML alias do: an override changes one alone.

    Raises
    ------
    ValueError
        If a value holds itself, or if aliases of aliases make it larger than memory should hold.
    """
    return _copy(value, (), itertools.count())


def _copy(value: Any, around: tuple[int, ...], copied: Iterator[int]) -> Any:
    """A copy of a value that lies in those with the ids ``around``; ``copied`` counts."""
    if next(copied) > _MOST_VALUES:
        raise ValueError(f"its aliases (*name) stand for more than {_MOST_VALUES:,} values")
    if not isinstance(value, dict | list):
        return value
    if id(value) in around:
        raise ValueError("an alias (*name) lies inside the value that it names; write the value out")
    around = (*around, id(value))
    if isinstance(value, list):
        return [_copy(item, around, copied) for item in value]
    return {key: _copy(item, around, copied) for key, item in value.items()}


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


def _apply_override(values: dict[str, Any], override: str, root: type[Section]) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override}: write it as section.key=value")
    try:
        value = text.strip() or text if _is_plain_text(text, root, key) else _copied(yaml.load(text, _Loader))
    except (yaml.YAMLError, ValueError, RecursionError):  # such as a list in itself
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


def _is_plain_text(text: str, root: type[Section], key: str) -> bool:
    """Whether an override's value is text as it stands: its option takes text, and it is not quoted, null or a list."""
    *parents, last = key.split(".")
    sections: list[type[BaseModel]] = [root]
    for parent in parents:
        fields = [section.model_fields[parent] for section in sections if parent in section.model_fields]
        sections = [member for field in fields for member in _members(field.annotation).values()]
    takes = [section.model_fields[last].annotation for section in sections if last in section.model_fields]
    word = text.strip()
    if not takes or any(annotation not in (*_TEXT, _TEXTS) for annotation in takes):
        return False
    quoted = len(word) > 1 and word[0] in "'\"" and word[0] == word[-1]
    return text != "" and not quoted and word not in ("null", "~") and not (_TEXTS in takes and word[:1] == "[")


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
        if "[" in str(part) or str(part).startswith("constrained-"):  # so does a plain type
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
