"""Real processes without their seconds of imports: forks of a server that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    ["labelwise.cli", "labelwise.refinery.chain", "labelwise.report.write", "sklearn.datasets"]
)


def start(
    function: Callable[..., None], *arguments: Any, errors: Path, environment: dict[str, str] | None = None
) -> Any:
    """Call a function of a module in another process, with one thread; its stderr is added to the file ``errors``."""
    process = context.Process(target=_call, args=(function, arguments, errors, environment or {}))
    process.start()
    return process


def _call(function: Callable[..., None], arguments: tuple[Any, ...], errors: Path, environment: dict[str, str]) -> None:
    import torch

    os.environ.update(environment)
    descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(descriptor, "w", buffering=1)
    torch.set_num_threads(1)
    function(*arguments)
