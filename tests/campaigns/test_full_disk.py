"""A disk that is full from some write on: one line says so, and the same command goes on when there is room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaigns.commands import COMMANDS
from campaigns.conftest import SEED, Undisturbed, points, what_goes_wrong_again
from helpers.trials import Fault, run

pytestmark = pytest.mark.campaign

TRIALS = 3
SEVERAL_PROCESSES = {"experiment --jobs": 0}
"""Commands whose writes are not seen in the first process."""


@pytest.mark.parametrize(("name", "number"), points(TRIALS, SEVERAL_PROCESSES))
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
    found = what_goes_wrong_again(name, inputs, tmp_path / "work", expected)
    record_property("full disks", int(done.code != 0))
    record_property("not survived", int(not sound or bool(found)))
    assert sound, f"CAMPAIGN_SEED={SEED}, {fault}: {done}"
    assert found == [], f"CAMPAIGN_SEED={SEED}, {fault}: {found}"
