"""Ctrl-C, SIGTERM, a closed terminal: this process stops soon, its helpers say nothing, and nobody is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_received: list[int] = []
_holding: list[bool] = []


@contextmanager
def handled() -> Iterator[None]:
    """These signals raise KeyboardInterrupt; one that the caller of this process ignores stays ignored."""
    _received.clear()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    sys.unraisablehook = lambda _: None  # objects that are destroyed from now on find their helpers gone
    if not _holding:
        raise KeyboardInterrupt


def exit_code() -> int | None:
    """128 and the number of the signal that arrived, as a shell counts; None where none did."""
    return 128 + _received[0] if _received else None


def check() -> None:
    """Raise the interrupt again: Python loses an exception that comes while an object is being destroyed."""
    if _received:
        raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Processes that start meanwhile never see the signals; this one sees them at the end.

    Ctrl-C reaches all processes of a terminal, and helpers have to end when this one tells them, without a word.
    """
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if masks else ()  # what children inherit
    _holding.append(True)  # in this process, another thread may take a signal that this one has blocked
    try:
        yield
    finally:
        _holding.pop()
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    check()


def terminable(*_: object) -> None:
    """In a helper that was started by :func:`held_back`: SIGTERM ends it, as others expect.

    What it calls is told by its errors to the process that started it. Only the thread that hands tensors over has none
    to tell, when that process is gone; it would print them.
    """
    sys.excepthook = lambda *_: None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


@contextmanager
def helpers_ended() -> Iterator[None]:
    """A user who stops this process stops its helpers, and does not wait for them."""
    try:
        yield
    except KeyboardInterrupt:
        for helper in multiprocessing.active_children():
            helper.kill()  # it may be starting, when it hears no signal; its work goes on wherever it stopped
        raise


def end_with_parent() -> None:
    """In a helper: a run that is killed leaves nobody behind who works on in its folder."""
    terminable()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
