"""A map over numbered shards of an output folder. Any process may make any of them, in any order, also twice."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from labelwise.progress import Progress
from labelwise.sharding.part import Part
from labelwise.sharding.processes import Request, ShardJob, make_in_processes, make_on_ray

J = TypeVar("J", bound=ShardJob)
J_co = TypeVar("J_co", bound=ShardJob, covariant=True)

Engine = Literal["ray"]
"""What makes shards besides processes of this machine."""


class RequestOf(Request, Protocol[J_co]):
    """A request whose job is of a known type."""

    def open(self, place: int = 0, processes: int = 1) -> J_co: ...


@dataclass(frozen=True)
class ShardMap(Generic[J]):
    """Shards in the folder ``out``, of which one part of the work still lacks those with the numbers ``todo``."""

    request: RequestOf[J]
    job: J
    out: Path
    part: Part
    todo: tuple[int, ...]
    processes: int

    @property
    def left(self) -> int:
        """Items in the shards that are to be made."""
        return sum(self.job.size(number) for number in self.todo)


def open_map(request: RequestOf[J], out: Path, part: Part = Part(), processes: int = 1) -> ShardMap[J]:  # noqa: B008
    """Open the job of a request and look which shards of a part are finished. Nothing is written.

    Raises
    ------
    LabelwiseError
        If the job cannot be opened, or ``out`` holds anything but the same shards.
    """
    job = request.open(int(os.environ.get("LOCAL_RANK", "0")))  # each rank of a machine takes the next accelerator
    job.claim(out, write=False)
    todo = tuple(number for number in part.of(range(job.shards)) if not job.is_finished(out, number))
    return ShardMap(request, job, out, part, todo, processes)


def make_shards(work: ShardMap[J], name: str, unit: str, *, engine: Engine | None = None, quiet: bool = False) -> float:
    """Make the shards that a part lacks.

    Parameters
    ----------
    name, unit : of the work and of its items, for the progress
    engine : what makes the shards; None: this process, or several of this machine

    Returns
    -------
    the seconds that this took

    Raises
    ------
    LabelwiseError
        If a shard cannot be made, or the folder cannot be written.
    """
    started, processes = time.monotonic(), min(work.processes, len(work.todo))
    work.job.claim(work.out)
    with Progress(name, unit, quiet=quiet) as progress:
        progress.start(work.left)

        def advance(items: int) -> None:
            progress.advance(items)
            progress.show()

        if engine == "ray":
            make_on_ray(work.request, work.out, work.todo, advance)
        elif processes > 1:
            make_in_processes(work.request, work.out, work.todo, processes, advance)
        else:
            for number in work.todo:
                work.job.make(work.out, number, advance)
    return time.monotonic() - started
