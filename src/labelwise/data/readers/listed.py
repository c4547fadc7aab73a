"""What the readers of published annotation files share: reading a text file, refusing what is listed twice."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path

from labelwise.errors import DataError


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark; DataError if it is missing or something else."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from None


def refuse_repeated(values: Iterable[Hashable], where: str) -> None:
    """Raise DataError for the first value that is there for the second time; the message begins with ``where``."""
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            raise DataError(f"{where} {value!r} is listed twice")
        seen.add(value)
