"""What is to be said about data beside the data themselves: what is odd, and what was assumed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

_ASSUMED: ContextVar[list[str] | None] = ContextVar("assumed", default=None)


@cache
def tell(line: str) -> None:
    """Print what is odd, on stderr: once, however often the data are read, and by one process."""
    if not int(os.environ.get("RANK", "0")):
        print(line, file=sys.stderr)


def assume(line: str) -> None:
    """Note what was assumed, for who asks with :func:`assumptions`; others do not see it."""
    lines = _ASSUMED.get()
    if lines is not None and line not in lines:
        lines.append(line)


@contextmanager
def assumptions() -> Iterator[list[str]]:
    """A list that fills with what is assumed inside the block."""
    lines: list[str] = []
    token = _ASSUMED.set(lines)
    try:
        yield lines
    finally:
        _ASSUMED.reset(token)
