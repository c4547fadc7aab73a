"""``import labelwise`` is cheap and offers every public name, for people and for type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import labelwise

HEAVY = ("torch", "numpy", "pydantic", "pandas", "sklearn", "timm", "yaml", "typer", "rich")


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, labelwise; dir(labelwise); print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", labelwise.__all__)
def test_every_public_name_is_what_it_is_called(name):
    value = getattr(labelwise, name)
    assert value.__name__ == name and value.__module__.startswith("labelwise.")
    assert name in dir(labelwise)
    assert value.__doc__


def test_a_star_import_brings_all_public_names():
    space: dict[str, object] = {}
    exec("from labelwise import *", space)
    assert set(labelwise.__all__) <= set(space)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'refin'"):
        labelwise.refin  # noqa: B018
    with pytest.raises(ImportError, match="refin"):
        exec("from labelwise import refin")


def test_type_checkers_and_the_interpreter_import_from_the_same_modules():
    """The block under TYPE_CHECKING and the table that the interpreter reads say the same."""
    tree = ast.parse(Path(labelwise.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == labelwise._MODULES
    assert sorted(typed) == sorted(labelwise.__all__)
