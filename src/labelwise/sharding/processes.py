"""The shards of a part, made by several processes of this machine, or by those of a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from labelwise import interrupts
from labelwise.errors import ConfigError, LabelwiseError, RunError

FRESH = multiprocessing.get_context("spawn")
"""How helpers start: torch's threads do not survive a fork."""


class ShardJob(Protocol):
    """Work with its data and networks opened; each of its shards is a pure function of the shard's number."""

    @property
    def shards(self) -> int:
        """Number of shards."""
        ...

    def claim(self, out: Path, *, write: bool = True) -> None:
        """Make a folder that of this work: new, empty, or the same already; any number of processes may do so.

        Without ``write`` it is only said whether it may be; a folder of anything else is refused.
        """
        ...

    def size(self, number: int) -> int:
        """Items in a shard, as the progress counts them."""
        ...

    def is_finished(self, out: Path, number: int) -> bool:
        """Whether a shard is there, every byte of it; that of other work is refused."""
        ...

    def make(self, out: Path, number: int, advance: Callable[[int], None] = ...) -> None:
        """Make a shard, which appears whole or not at all. ``advance`` is told how many more items are done."""
        ...


class Request(Protocol):
    """What is asked for. It can be pickled and compared, and every process opens the same job of it."""

    def open(self, place: int = 0, processes: int = 1) -> ShardJob:
        """Open the job in process ``place`` of ``processes`` on a machine, which share accelerators and decoders."""
        ...


_opened: list[tuple[Request, ShardJob]] = []
"""What this process works on, with data and networks, which are opened once."""


def make_in_processes(
    request: Request, out: Path, numbers: tuple[int, ...], processes: int, advance: Callable[[int], None]
) -> None:
    """Make shards in local processes, each one at a time. If one is killed, the others take its shard.

    Parameters
    ----------
    advance : is told the items of every finished shard

    Raises
    ------
    LabelwiseError
        The first error of a process, when the others have ended their shard; or if all were killed.
    """
    todo, running = deque(numbers), dict[Future[int], tuple[int, int, ProcessPoolExecutor]]()
    with ExitStack() as stack:  # a pool for each process: where one breaks, the others go on
        pools = [ProcessPoolExecutor(1, FRESH, interrupts.end_with_parent) for _ in range(processes)]
        free = [(place, stack.enter_context(pool)) for place, pool in enumerate(pools)]
        stack.enter_context(interrupts.helpers_ended())
        while todo or running:
            while todo and free:
                place, pool = free.pop()
                number = todo.popleft()
                with interrupts.held_back():
                    running[pool.submit(make_one, request, out, number, place, processes)] = number, place, pool
            if not running:
                raise RunError(
                    f"all {processes} processes were killed; is there enough memory for so many --workers? The same"
                    " command goes on where this one was"
                )
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, place, pool = running.pop(future)
                try:
                    advance(future.result())
                    free.append((place, pool))
                except BrokenProcessPool:
                    todo.append(number)
                    print(f"a process was killed; the others take its shard {number}", file=sys.stderr)


def make_on_ray(request: Request, out: Path, numbers: tuple[int, ...], advance: Callable[[int], None]) -> None:
    """Make shards as tasks of Ray: on the cluster that RAY_ADDRESS names, otherwise on this machine.

    Ray gives the shard of a process that was killed to another one. All machines must see ``out``, the data and the
    networks under the same paths.

    Raises
    ------
    LabelwiseError
        If Ray is not installed, a task fails, or its processes are killed again and again.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray: Ray is not installed; pip install 'labelwise[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        gpus = 1 if "GPU" in ray.cluster_resources() else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus)(make_one)
        todo = [task.remote(request, out.absolute(), number, 0, sys.maxsize) for number in numbers]
        while todo:
            done, todo = ray.wait(todo)
            advance(sum(ray.get(done)))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LabelwiseError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise RunError(f"--engine ray: {' '.join(str(error).split())[:200]}") from None
    finally:
        if ours:
            ray.shutdown()


def make_one(request: Request, out: Path, number: int, place: int, processes: int) -> int:
    """Make a shard in a helper; returns the number of its items.

    Parameters
    ----------
    place, processes : see :meth:`Request.open`
    """
    if not _opened or _opened[0][0] != request:
        job = request.open(place, processes)
        job.claim(out)
        _opened[:] = [(request, job)]
    job = _opened[0][1]
    job.make(out, number)
    return job.size(number)
