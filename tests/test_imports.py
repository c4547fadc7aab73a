"""Imports go one way (docs: layout), and files stay short enough to be read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "labelwise"
LAYERS = [
    ["errors"],
    ["settings", "shipped", "textfile", "progress", "folder_lock", "half_files", "interrupts", "sealed"],
    ["config", "runs", "sharding"],
    ["results"],
    ["labels", "losses", "metrics"],
    ["data", "models"],
    ["store"],
    ["training"],
    ["features", "inference"],
    ["refinery", "cft"],
    ["labelling"],
    ["audit"],
    ["report", "pipeline", "experiment", "export", "demo"],
    ["cli"],
    ["__main__"],
]
APART = [("data", "models"), ("models", "data"), ("refinery", "cft"), ("cft", "refinery")]
ROOT = "__init__"  # the public interface: it may name everybody, and its version alone is for those inside
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names} | {ROOT: -1}
MODULES = sorted(SOURCE.rglob("*.py"))
INSIDE = [path for path in MODULES if path != SOURCE / "__init__.py"]


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """First-level parts of labelwise that a module imports, anywhere in it."""
    found = set()
    package = ["labelwise", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "labelwise" else [module]
        for name in names:
            root, _, rest = name.partition(".")
            if root == "labelwise":
                first = rest.partition(".")[0]
                found.add(ROOT if first in ("", "__version__") else first)
    return found


def test_every_part_has_a_layer_and_every_layer_is_there():
    assert {part_of(path) for path in MODULES} == set(LEVEL)


def test_reports_are_made_from_run_folders_alone():
    """No method, no data, no network: what a report tells is in the files of a run."""
    told = [path for path in MODULES if part_of(path) == "report"]
    assert len(told) > 10
    for path in told:
        assert imported(path) <= {"report", "results", "runs", "errors"}, f"{path.name} knows more than a run folder"


@pytest.mark.parametrize("path", INSIDE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    own = part_of(path)
    for other in imported(path) - {own}:
        assert other in LEVEL, f"{path.name}: import {other} from its own module, not from labelwise itself"
        assert (own, other) not in APART, f"{own} must not know {other}"
        assert LEVEL[other] <= LEVEL[own], f"{own} must not import {other}, a later layer"


def test_files_are_at_most_400_lines():
    long = {str(path.relative_to(SOURCE)): n for path in MODULES if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_the_check_sees_imports_of_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "data" / "readers").mkdir(parents=True)
    path = tmp_path / "data" / "readers" / "x.py"
    path.write_text(
        "import labelwise\nimport labelwise.training.fit\nfrom labelwise import models\nimport numpy\n"
        "def f():\n    from labelwise.refinery.chain import refine\n"
        "    from ..views import Boxes\n    from ...cli import main\n"
    )
    assert imported(path) == {ROOT, "training", "models", "refinery", "data", "cli"}
