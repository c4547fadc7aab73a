"""Files that are being written: their names, and how those of killed processes are told from those of live ones."""

from __future__ import annotations

import functools
import os
import platform
import secrets
import zlib
from pathlib import Path


def half_of(path: Path) -> Path:
    """A new name beside ``path`` that says which process writes there."""
    return path.with_name(f".{path.name}.{_place()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def remove_halves(folder: Path) -> None:
    """Remove what processes of this machine left half-written in a folder, if they have ended."""
    if os.name == "nt":  # where signal 0 is not a question
        return
    for half in folder.glob(f".*.{_place()}-*-*.tmp"):
        try:
            os.kill(int(half.name.split("-")[-2]), 0)
        except ProcessLookupError:
            half.unlink(missing_ok=True)
        except (ValueError, OSError, OverflowError):  # another name, or a process of another user
            continue


@functools.lru_cache(maxsize=1024)
def remove_halves_once(folder: Path) -> None:
    """The same at a process's first call for a folder, since a store may have many thousand files."""
    remove_halves(folder)


@functools.cache
def _place() -> str:
    """Where process numbers mean the same: other machines and containers may write on the same disk."""
    numbers = Path("/proc/self/ns/pid")
    inside = numbers.readlink() if numbers.is_symlink() else ""
    return f"{zlib.crc32(f'{platform.node()} {inside}'.encode()):08x}"
