"""The real command in a forked process (see `helpers.forked`), with a hand on when it stops."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from labelwise import cli
from labelwise.training import fit

CHECKPOINT, STOP = (1, 2), (1, 4)
"""(Finished epochs, steps) of the last checkpoint, and of where the run stands when it is killed."""

GOOD_CHECKPOINTS = 3
"""So many checkpoints are written before the disk is full."""


def run(argv: list[str], resumed: Path, plan: tuple[str, str] | None = None, reached: Any = None) -> None:
    """``labelwise ARGV``; what was resumed from is added to the file ``resumed``.

    Parameters
    ----------
    plan : (network, what) or None; what is ``between`` or ``during`` (wait there for a SIGKILL: some steps after the
        last checkpoint, or while the next one is written), or ``full`` (the disk fills up)
    reached : event that says the place has been reached
    """
    _log_resume(resumed)
    if plan is not None:
        _interfere(*plan, reached)
    sys.argv = ["labelwise", *argv]
    cli.main()


def _log_resume(log: Path) -> None:
    restore = fit._Loop.restore

    def logged(loop: Any, path: Path, state: Any) -> None:
        restore(loop, path, state)
        with open(log, "a") as file:
            file.write(f"{path.parent.name} {state.epoch} {state.step}\n")

    fit._Loop.restore = logged


def _interfere(network: str, what: str, reached: Any) -> None:
    store, count = fit._Loop.store, 0

    def wait(*_: Any) -> None:
        reached.set()
        time.sleep(600)

    def stop(loop: Any, path: Path, state: Any) -> None:
        place = (state.epoch, state.step)
        if path.parent.name != network or place <= CHECKPOINT:
            store(loop, path, state)
        elif place == STOP and what == "during":
            os.fsync = wait
            store(loop, path, state)
        elif place == STOP:
            wait()

    def fill(loop: Any, path: Path, state: Any) -> None:
        nonlocal count
        store(loop, path, state)
        count += path.parent.name == network
        if count == GOOD_CHECKPOINTS:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            limit = path.stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    fit._Loop.store = fill if what == "full" else stop
