"""Which shards a process makes: a part of them by number, from the command line or from what has started it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelwise.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """Part ``index``, from 0, of ``count``."""

    index: int = 0
    count: int = 1

    def of(self, numbers: Sequence[int]) -> Sequence[int]:
        """Every ``count``-th number."""
        return numbers[self.index :: self.count]

    def split(self, index: int, count: int) -> Part:
        """Part ``index`` of ``count`` of this part."""
        return Part(self.index + index * self.count, self.count * count)

    def missing_in_words(self, out: Path) -> str:
        """What is told where this part is finished and others are not."""
        return f"{self} is finished, other parts are missing -> {out}"

    def __str__(self) -> str:
        return f"part {self.index + 1} of {self.count}"


def own_part(asked: str | None, environment: Mapping[str, str]) -> Part:
    """The part of this process.

    Parameters
    ----------
    asked : ``I/N``, I from 1. Default: the place in a Slurm array, if any. The ranks of torchrun share it
    environment : variables of the system

    Raises
    ------
    ConfigError
        If ``asked`` is no part.
    """
    part = Part()
    if asked is not None:
        found = re.fullmatch(r"(\d+)/(\d+)", asked)
        index, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= index <= count:
            raise ConfigError(f"--shard {asked}: expected I/N with I from 1 to N, such as 3/64")
        part = Part(index - 1, count)
    elif "SLURM_ARRAY_TASK_COUNT" in environment:
        first, step = (int(environment.get(f"SLURM_ARRAY_TASK_{key}", 1)) for key in ("MIN", "STEP"))
        place = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
        part = Part(place, int(environment["SLURM_ARRAY_TASK_COUNT"]))
    return part.split(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))
