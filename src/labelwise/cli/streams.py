"""Standard output and standard error as commands need them, whatever the caller has made of them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Streams that can be written to.

    - A closed stream is one to nowhere. Otherwise the next file that is opened would take its number, and receive what
      libraries print.
    - A character that the encoding of standard output lacks is written as its number.
    - Standard error that cannot be written any more, such as a log on a full disk, stops no work.
    - ``COLUMNS=0``, as some machines say without a terminal, would print nothing.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = _Lossy(sys.stderr)  # type: ignore[assignment]
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


class _Lossy:
    """A stream of which nobody learns that it cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
