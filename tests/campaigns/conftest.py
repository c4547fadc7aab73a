"""What the campaigns share: inputs, the seed, and the figures at the end."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaigns.commands import COMMANDS, QUICK, write_inputs
from helpers.snapshot import differences, snapshot
from helpers.trials import Outcome, run

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))

Undisturbed = Callable[[str], tuple[Outcome, dict[str, Any]]]


def points(trials: int, fewer: Mapping[str, int]) -> list[Any]:
    """Parameters (command, number): so many trials of each command, or as many as ``fewer`` says of it."""
    return [
        pytest.param(name, number, marks=[pytest.mark.xdist_group(name), *([pytest.mark.quick] if quick else [])])
        for number in range(trials)
        for name in COMMANDS
        if number < fewer.get(name, trials)
        for quick in [name in QUICK and number == 0]
    ]


def what_goes_wrong_again(name: str, inputs: Path, folder: Path, expected: dict[str, Any]) -> list[str]:
    """What is wrong when a disturbed command is started again: its last words, or how it ends otherwise."""
    again = run(COMMANDS[name], inputs, folder)
    return [f"exit code {again.code}", *again.err[-5:]] if again.code else differences(snapshot(folder), expected)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """How a command ends that nobody disturbs, and what it leaves."""
    known: dict[str, tuple[Outcome, dict[str, Any]]] = {}

    def find(name: str) -> tuple[Outcome, dict[str, Any]]:
        if name not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            outcome = run(COMMANDS[name], inputs, folder)
            assert outcome.code == 0, outcome.err
            known[name] = outcome, snapshot(folder)
        return known[name]

    return find


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of this test alone; `CAMPAIGN_SEED` draws others."""
    return np.random.default_rng([SEED, zlib.crc32(request.node.name.encode())])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    figures = Counter[str]()
    for kind in ("passed", "failed"):
        for report in terminalreporter.stats.get(kind, []):
            figures.update(dict(report.user_properties))
    if figures:
        terminalreporter.write_line(f"seed {SEED}: " + ", ".join(f"{n:,} {name}" for name, n in figures.items()))
