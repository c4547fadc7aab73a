"""Text files that users hand over."""

from __future__ import annotations

from pathlib import Path

from labelwise.errors import DataError

NOT_JSON = (ValueError, RecursionError)
"""What :func:`json.loads` raises; the second one for brackets within brackets, thousands deep."""


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark; DataError if it is missing or something else."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from None
