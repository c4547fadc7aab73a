"""The real command in a forked process, with a hand on when it stops. Imported by name, by a fork server."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from labelwise import cli
from labelwise.refinery import gallery  # noqa: F401  (imported once, by the fork server
from labelwise.training import fit

CHECKPOINT, STOP = (1, 2), (1, 4)
"""(Finished epochs, steps) of the last checkpoint, and of where the run stands when it is killed."""

GOOD_CHECKPOINTS = 3
"""So many checkpoints are written before the disk is full."""


def run(argv: list[str], errors: Path, plan: tuple[str, str] | None = None, reached: Any = None) -> None:
    """``labelwise ARGV``; stderr goes to the file ``errors``, what was resumed from to ``errors``.resumed.

    Parameters
    ----------
    plan : (network, what) or None; what is ``between`` or ``during`` (wait there for a SIGKILL: some steps after the
        last checkpoint, or while the next one is written), or ``full`` (the disk fills up)
    reached : event that says the place has been reached
    """
    descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(descriptor, "w", buffering=1)
    torch.set_num_threads(1)
    _log_resume(errors.with_suffix(".resumed"))
    if plan is not None:
        _interfere(*plan, reached)
    sys.argv = ["labelwise", *argv]
    cli.main()


def _log_resume(log: Path) -> None:
    restore = fit._restore

    def logged(path: Path, state: Any, *rest: Any) -> None:
        restore(path, state, *rest)
        with open(log, "a") as file:
            file.write(f"{path.parent.name} {state.epoch} {state.step}\n")

    fit._restore = logged


def _interfere(network: str, what: str, reached: Any) -> None:
    store, count = fit._store, 0

    def wait(*_: Any) -> None:
        reached.set()
        time.sleep(600)

    def stop(path: Path, state: Any, *rest: Any) -> None:
        place = (state.epoch, state.step)
        if path.parent.name != network or place <= CHECKPOINT:
            store(path, state, *rest)
        elif place == STOP and what == "during":
            os.fsync = wait
            store(path, state, *rest)
        elif place == STOP:
            wait()

    def fill(path: Path, *rest: Any) -> None:
        nonlocal count
        store(path, *rest)
        count += path.parent.name == network
        if count == GOOD_CHECKPOINTS:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            limit = path.stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    fit._store = fill if what == "full" else stop
