"""The examples in the docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import labelwise

SOURCE = Path(labelwise.__file__).parent


def examples() -> list[doctest.DocTest]:
    """Every docstring of the package that has an example."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        if ">>>" in path.read_text():
            parts = path.relative_to(SOURCE.parent).with_suffix("").parts
            module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
            found += [test for test in doctest.DocTestFinder().find(module) if test.examples]
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_print_what_they_say(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    assert doctest.DocTestRunner().run(example, out=told.append).failed == 0, "".join(told)


def test_no_example_is_skipped_and_there_are_enough():
    assert not [one.source for example in EXAMPLES for one in example.examples if doctest.SKIP in one.options]
    assert len(EXAMPLES) >= 25
