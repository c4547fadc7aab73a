"""Functions stay short enough to be read; ruff counts their branches and arguments."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = runpy.run_path(str(ROOT / "benchmarks" / "lines.py"))
MODULES = sorted((ROOT / "src" / "labelwise").rglob("*.py"))
MANY_ARGUMENTS = (
    "cft/finetuner.py",
    "cli/audit.py",
    "cli/heads.py",
    "cli/label.py",
    "cli/store.py",
    "cli/training.py",
    "cli/use.py",
)  # those that pyproject.toml leaves out of ruff's rule


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src" / "labelwise")))
def test_functions_are_short(path: Path) -> None:
    found = LINES["large_functions"](path)
    assert not [line for line in found if not line.partition(":")[0].endswith(MANY_ARGUMENTS)]
    assert not [line for line in found if int(line.rpartition(" lines,")[0].rpartition(" ")[2]) > LINES["MOST_LINES"]]


def test_a_long_function_and_many_arguments_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def long():\n" + "    pass\n" * 80 + f"def many({', '.join('abcdefghi')}): ...\ndef good(): ...\n")
    assert LINES["large_functions"](path) == [
        f"{path}:1 long: 81 lines, 0 arguments",
        f"{path}:82 many: 1 lines, 9 arguments",
    ]
    assert LINES["code_lines"]('"""Doc."""\n\n# comment\nx = 1\n') == 1
