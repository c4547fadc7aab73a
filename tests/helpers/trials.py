"""Commands in forked processes that are killed, or that meet a full disk, at a chosen moment."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from helpers import forked
from labelwise import cli

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
"""Events of the interpreter that change a folder, besides files that are opened for writing."""


@dataclass(frozen=True)
class Fault:
    """What happens to a command.

    Parameters
    ----------
    way : ``moment``: SIGKILL after ``at`` seconds; ``before``: SIGKILL before change number ``at`` of the folder;
        ``within``: from there on the process is killed where a file grows beyond ``size`` bytes, in the middle of a
        write; ``full``: from there on no file can grow beyond ``size`` bytes
    at : seconds, or the number of a change, from 1
    """

    way: Literal["moment", "before", "within", "full"]
    at: float
    size: int = 0


@dataclass(frozen=True)
class Command:
    """A command that writes into its working folder.

    Parameters
    ----------
    words : its arguments; ``{name}`` stands for the path of an input
    setup : called in the process before the command
    ranks : number of processes, as torchrun starts them
    """

    words: str
    setup: Callable[[], None] | None = None
    ranks: int = 1

    def arguments(self, inputs: Path) -> list[str]:
        return [word.replace("{inputs}", str(inputs)) for word in self.words.split()]


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code (minus the signal that killed it), lines of stderr, seconds, changes it made."""

    code: int
    err: list[str]
    seconds: float
    changes: int


def run(command: Command, inputs: Path, folder: Path, fault: Fault | None = None) -> Outcome:
    """Run a command in ``folder``, which may be there already; of several ranks, the first meets the fault."""
    folder.mkdir(parents=True, exist_ok=True)
    errors = folder.with_name(f"{folder.name}.stderr")
    errors.unlink(missing_ok=True)
    os.mkfifo(errors)  # a pipe takes what is written when no file does
    reader = os.open(errors, os.O_RDONLY | os.O_NONBLOCK)
    changes = forked.context.Value("i", 0)
    started = time.monotonic()
    processes = [
        forked.start(
            _command,
            command,
            command.arguments(inputs),
            folder,
            changes,
            fault if rank == 0 else None,
            errors=errors,
            environment=place,
        )
        for rank, place in enumerate(_places(command.ranks))
    ]
    if fault is not None and fault.way == "moment":
        processes[0].join(fault.at)
        processes[0].kill()
    processes[0].join(300)
    seconds = time.monotonic() - started
    for process in processes[1:]:
        process.join(0.1 if fault is not None else 60)
        process.kill()  # as torchrun does when a rank has ended
        process.join()
    err = read_to_end(reader, 60)
    os.close(reader)
    errors.unlink()
    return Outcome(processes[0].exitcode, err.splitlines(), seconds, changes.value)


def read_to_end(reader: int, seconds: float) -> str:
    """What was written to a pipe; fails if somebody still holds its other end after so many seconds.

    That is a process which the command has left behind, since it inherits stderr.
    """
    found, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            part = os.read(reader, 1 << 16)
        except BlockingIOError:
            time.sleep(0.05)
            continue
        if not part:
            return found.decode()
        found += part
    raise AssertionError(f"a process was left behind; stderr so far: {found.decode()}")


def _places(ranks: int) -> list[dict[str, str]]:
    if ranks == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    return [group | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def _command(command: Command, arguments: list[str], folder: Path, changes: Any, fault: Fault | None) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.chdir(folder)
    if command.setup is not None:
        command.setup()
    if fault is None or fault.way != "moment":
        sys.addaudithook(_counter(f"{folder}{os.sep}", changes, fault))
    sys.argv = ["labelwise", *arguments]
    cli.main()


def _counter(inside: str, changes: Any, fault: Fault | None) -> Callable[[str, Any], None]:
    """A hook that counts what changes the folder, and lets the fault happen when its time has come."""

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            if not (isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event not in CHANGES:
            return
        if not isinstance(details[0], str | os.PathLike) or not str(Path(details[0]).absolute()).startswith(inside):
            return
        changes.value += 1
        if fault is not None and changes.value == fault.at:
            _happen(fault)

    return hook


def _happen(fault: Fault) -> None:
    if fault.way == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN if fault.way == "full" else signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (fault.size, fault.size))
