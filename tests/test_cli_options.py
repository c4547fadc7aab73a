"""Every option with a closed set of values refuses others, and names those that it takes."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pytest
import typer
from typer.models import ArgumentInfo, OptionInfo
from typer.testing import CliRunner

from labelwise.cli import app

FREE_TEXT = {
    *("--data", "--set", "--threshold"),
    "--budget",  # of refine: time or epochs
    "--model",  # of export: any network
    "MODEL",  # of features: any network
    "MODELS",  # of label: checkpoints, timm:NAME
    *("--k", "--shard"),  # of label: a number or all; I/N
    "NAME",  # of push: any name on the hub; of recipes: one that is listed
    "--curves",  # any category of the data
    "DATA",  # of data stats: any source
}
"""Options and arguments whose values cannot be listed. A new option of text goes here, or gets a Literal type."""


class Parameter(NamedTuple):
    """An option or argument of a command, as the command's function declares it."""

    command: str
    name: str
    kind: Any
    info: OptionInfo | ArgumentInfo
    required: bool


def commands(group: typer.Typer, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{prefix}{command.name or command.callback.__name__}", command.callback
    for child in group.registered_groups:
        assert child.typer_instance is not None
        yield from commands(child.typer_instance, f"{child.name} ")


def parameters() -> Iterator[Parameter]:
    for command, function in commands(app):
        hints = typing.get_type_hints(function, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            kind, info = typing.get_args(hints[name])
            own = [a for a in typing.get_args(kind) if a is not type(None)]
            if isinstance(kind, types.UnionType) or typing.get_origin(kind) in (typing.Union, list):
                kind = own[0]
            if typing.get_origin(kind) is list:
                kind = typing.get_args(kind)[0]
            shown = name.upper() if isinstance(info, ArgumentInfo) else "--" + name.replace("_", "-")
            if str(info.default).startswith("--"):  # within Annotated, typer.Option's first argument is the name
                shown = info.default
            yield Parameter(command, shown, kind, info, parameter.default is inspect.Parameter.empty)


ALL = list(parameters())
CLOSED = [p for p in ALL if typing.get_origin(p.kind) is Literal]


def test_closed_options_are_found() -> None:
    found = {p.name for p in CLOSED}
    assert {"--unreadable", "--split", "--how", "--objective", "--method", "--preset", "--base"} <= found
    assert {"--uncertain", "--precision"} <= found and len(ALL) > 60


@pytest.mark.parametrize("parameter", CLOSED, ids=lambda p: f"{p.command} {p.name}")
def test_another_value_is_refused(parameter: Parameter) -> None:
    required = [p for p in ALL if p.command == parameter.command and p.required]
    arguments = [word for p in required for word in ([p.name, "x"] if p.name.startswith("-") else ["x"])]
    env = {"COLUMNS": "300", "TERM": "dumb"}
    done = CliRunner().invoke(app, [*parameter.command.split(), *arguments, parameter.name, "nonsense"], env=env)
    assert done.exit_code == 2
    assert f"Invalid value for '{parameter.name}'" in done.output and "nonsense" in done.output
    for choice in typing.get_args(parameter.kind):
        assert str(choice) in done.output


def test_text_without_a_closed_set_is_known_to_have_none() -> None:
    assert {p.name for p in ALL if p.kind is str} == FREE_TEXT


def test_numbers_have_a_least_value() -> None:
    numbers = [p for p in ALL if p.kind in (int, float)]
    assert ("predict", "--top") in [(p.command, p.name) for p in numbers]
    assert not [(p.command, p.name) for p in numbers if p.info.min is None]
