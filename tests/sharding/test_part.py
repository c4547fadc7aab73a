"""The shards of a process: every number is somebody's, once."""

from __future__ import annotations

import pytest

from labelwise.errors import ConfigError
from labelwise.sharding.part import Part, own_part


@pytest.mark.parametrize(
    ("asked", "environment", "part"),
    [
        (None, {}, Part()),
        ("3/64", {}, Part(2, 64)),
        (None, {"RANK": "1", "WORLD_SIZE": "4"}, Part(1, 4)),
        ("2/3", {"RANK": "1", "WORLD_SIZE": "2"}, Part(4, 6)),
        (None, {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "10"}, Part(2, 8)),
        (
            None,
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            Part(3, 4),
        ),
        ("1/2", {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "8"}, Part(0, 2)),
    ],
)
def test_the_part_of_a_process(asked, environment, part) -> None:
    assert own_part(asked, environment) == part


@pytest.mark.parametrize("asked", ["0/3", "4/3", "3", "1/0", "-1/3", "a/b"])
def test_what_is_no_part_is_refused(asked) -> None:
    with pytest.raises(ConfigError, match=f"--shard {asked}: expected I/N"):
        own_part(asked, {})


def test_parts_of_parts_are_everything_once() -> None:
    numbers = range(23)
    parts = [Part(i, 3).split(rank, 2) for i in range(3) for rank in range(2)]
    assert sorted(n for part in parts for n in part.of(numbers)) == list(numbers)
    assert str(Part(2, 64)) == "part 3 of 64"
