"""One process at a time writes into a run folder. The system frees the lock of a process that ends, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: folders are not locked
    fcntl = None  # type: ignore[assignment]

from labelwise.errors import RunError

LOCK = ".lock"
"""Says who is at work in a folder: host, process and time. It is removed with the lock."""

_held: weakref.WeakValueDictionary[Path, FolderLock] = weakref.WeakValueDictionary()


class FolderLock:
    """A folder that this process alone may write into, until nobody holds this object any more."""

    def __init__(self, folder: Path, file: int) -> None:
        self._end = weakref.finalize(self, _free, folder / LOCK, file, os.getpid())


def lock_folder(folder: Path) -> FolderLock | None:
    """Lock a folder, which is made if it is not there; a process may lock one several times.

    Returns
    -------
    the lock, to be held while something is written; None where the disk knows no locks, or nothing can be written

    Raises
    ------
    RunError
        In one line, if another process is at work in the folder.
    """
    known = folder.resolve()
    if (held := _held.get(known)) is not None or fcntl is None:
        return held
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked_file(folder / LOCK)
    except BlockingIOError:
        raise RunError(
            f"{folder}: another process is at work in it{_whose(folder / LOCK)}; wait for it, or give another --out"
        ) from None
    except OSError:  # whoever writes next says why that is not possible
        return None
    about = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.suppress(OSError):
        os.truncate(file, 0)
        os.write(file, json.dumps(about).encode())
    lock = _held[known] = FolderLock(known, file)
    return lock


def _locked_file(path: Path) -> int:
    """A locked file that is at ``path``: whoever frees a lock removes its file."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(file).st_ino == path.stat().st_ino:
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _whose(path: Path) -> str:
    try:
        about = json.loads(path.read_text())
        return f" (process {about['process']} on {about['host']}, since {about['since']})"
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def _free(path: Path, file: int, owner: int) -> None:
    """A forked process shares the file, not the lock's end."""
    if os.getpid() == owner:
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):
        os.close(file)
