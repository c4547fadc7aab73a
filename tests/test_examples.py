"""Refinement in loops that are not ours: every such script under examples/ runs, and its refinery labels."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from labelwise import RefineryLabels

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("refine_*.py")), ids=lambda file: file.stem)
def test_an_example_runs_for_a_few_steps(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, ...]] = []
    plain = RefineryLabels.__call__

    def noted(self: RefineryLabels, views: Any) -> Any:
        labels = plain(self, views)
        asked.append(tuple(labels.shape))
        return labels

    monkeypatch.setattr(RefineryLabels, "__call__", noted)
    load(file.stem).main(["--steps", "5"])
    assert "generation 2" in capsys.readouterr().out
    assert len(asked) == 5 and {shape[1] for shape in asked} == {10}


def test_both_generations_of_the_plain_loop_learn_the_true_classes() -> None:
    """The labels of 40% of the training digits are wrong."""
    first, second = load("refine_plain_pytorch").main([])
    assert first > 0.8 and second > 0.8
