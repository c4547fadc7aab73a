"""Who is preferred in a run: the stated order of generations and controls, and when it gives way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from labelwise.metrics.choosing import Choice, choose
from labelwise.refinery.summary import preferred
from labelwise.results import Row

RNG = np.random.default_rng(0)
NOISE = {name: RNG.normal(scale=0.5, size=100) for name in ("generation-1", "generation-2", "long", "kernel-ridge")}


class Known:
    """A judgement by numbers: the mean log-likelihood of each network, and noise of its own."""

    def __init__(self, **means: float) -> None:
        self.means = {name.replace("_", "-"): mean for name, mean in means.items()}

    def choose(self, candidates: Sequence[Sequence[Row]]) -> Choice | None:
        return choose([NOISE[rows[0].name] + self.means[rows[0].name] for rows in candidates])

    def most_likely(self, candidates: Sequence[Sequence[Row]]) -> int | None:
        means = [float((NOISE[rows[0].name] + self.means[rows[0].name]).mean()) for rows in candidates]
        return int(np.argmax(means))


def row(name: str, network: str = "small") -> Row:
    role = "generation" if name.startswith("generation") else "control"
    return Row.model_construct(name=name, role=role, seed=0, network={"name": network}, generation=None)


@pytest.mark.parametrize(
    ("means", "best", "control"),
    [
        ({"generation_1": 0, "generation_2": 0, "long": 0.05}, "generation-2", "long"),
        ({"generation_1": 1, "generation_2": 0, "long": 0}, "generation-1", "long"),
        ({"generation_1": 0, "generation_2": 0, "long": 1}, "long", "long"),
        ({"generation_1": 0, "generation_2": 0, "long": 0, "kernel_ridge": -0.05}, "kernel-ridge", "kernel-ridge"),
        ({"generation_1": 0, "generation_2": 1, "long": 0, "kernel_ridge": 0}, "generation-2", "kernel-ridge"),
        ({"generation_1": 0, "generation_2": 0, "long": 1, "kernel_ridge": 0}, "long", "long"),
    ],
)
def test_the_stated_order_decides_where_nothing_is_clear(means: dict[str, float], best: str, control: str) -> None:
    rows = [row(name.replace("_", "-")) for name in means]
    found = preferred(rows, Known(**means))  # type: ignore[arg-type]
    assert found.control is not None and found.control[0].name == control
    assert found.best[0].name == best and found.rival != best


def test_larger_refineries_of_a_chain_do_not_compete() -> None:
    rows = [row("generation-1", "large"), row("generation-2")]
    found = preferred(rows, Known(generation_1=5, generation_2=0))  # type: ignore[arg-type]
    assert found.best[0].name == "generation-2" and found.control is None and found.rival is None
