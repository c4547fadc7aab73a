"""A disk that is full from some write on: one line says so, and the same command goes on when there is room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaigns.commands import COMMANDS, QUICK
from campaigns.conftest import SEED, Undisturbed
from helpers.snapshot import differences, snapshot
from helpers.trials import Fault, run

pytestmark = pytest.mark.campaign

TRIALS = 3
SEVERAL_PROCESSES = {"experiment --jobs"}
"""Commands whose writes are not seen in the first process."""

POINTS = [
    pytest.param(name, number, marks=[pytest.mark.xdist_group(name), *([pytest.mark.quick] if quick else [])])
    for name in COMMANDS
    for number in range(TRIALS)
    if name not in SEVERAL_PROCESSES
    for quick in [name in QUICK and number == 0]
]


@pytest.mark.parametrize(("name", "number"), POINTS)
def test_a_full_disk_is_told_and_survived(
    name: str,
    number: int,
    inputs: Path,
    undisturbed: Undisturbed,
    rng: np.random.Generator,
    tmp_path: Path,
    record_property: Any,
) -> None:
    whole, expected = undisturbed(name)
    size = 0 if number == 0 else int(10 ** rng.uniform(0, 3))
    fault = Fault("full", int(rng.integers(1, whole.changes, endpoint=True)), size)
    done = run(COMMANDS[name], inputs, tmp_path / "work", fault)
    told = [line for line in done.err if "error: " in line]
    sound = done.code == 0 or (
        done.code == 1 and len(told) == 1 and "cannot be written" in told[0] and "Traceback" not in "".join(done.err)
    )
    again = run(COMMANDS[name], inputs, tmp_path / "work")
    found = again.err[-5:] if again.code else differences(snapshot(tmp_path / "work"), expected)
    record_property("full disks", int(done.code != 0))
    record_property("not survived", int(not sound or bool(found)))
    assert sound, f"CAMPAIGN_SEED={SEED}, {fault}: {done}"
    assert again.code == 0 and found == [], f"CAMPAIGN_SEED={SEED}, {fault}: {found}"
