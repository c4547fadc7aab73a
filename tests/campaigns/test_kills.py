"""Commands that are killed at random, once or twice: started again they end as if nothing had happened."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaigns.commands import COMMANDS
from campaigns.conftest import SEED, Undisturbed, points, what_goes_wrong_again
from helpers.trials import Fault, Outcome, run

pytestmark = pytest.mark.campaign

TRIALS = 9
SLOW = {"experiment --jobs": 3}
"""A command whose processes import torch."""


@pytest.mark.parametrize(("name", "number"), points(TRIALS, SLOW))
def test_a_killed_command_goes_on(
    name: str,
    number: int,
    inputs: Path,
    undisturbed: Undisturbed,
    rng: np.random.Generator,
    tmp_path: Path,
    record_property: Any,
) -> None:
    whole, expected = undisturbed(name)
    faults, kills = [], 0
    for _ in range(1 + (rng.random() < 1 / 3)):
        faults.append(draw_fault(rng, whole))
        done = run(COMMANDS[name], inputs, tmp_path / "work", faults[-1])
        assert done.code in (0, -signal.SIGKILL, -signal.SIGXFSZ), (faults, done.err)
        kills += done.code != 0
    record_property("kills", kills)
    found = what_goes_wrong_again(name, inputs, tmp_path / "work", expected)
    record_property("lost, doubled or different", bool(found))
    assert found == [], f"CAMPAIGN_SEED={SEED}, {faults}: {found}"


def draw_fault(rng: np.random.Generator, whole: Outcome) -> Fault:
    """A kill by the clock, before a change of the folder, or in the middle of a write."""
    way = str(rng.choice(["moment", "before", "within"]))
    if way == "moment" or not whole.changes:
        return Fault("moment", float(rng.uniform(0, whole.seconds)))
    return Fault(way, int(rng.integers(1, whole.changes, endpoint=True)), int(10 ** rng.uniform(0, 4)))
