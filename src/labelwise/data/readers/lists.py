"""A column in which each cell lists the categories of a sample: ``a|b``, ``['a', 'b']`` or a list of Parquet."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.data.files import same_name
from labelwise.errors import ConfigError, DataError


@dataclass(frozen=True)
class Lists:
    """The different lists of a column, None where nothing is known, and which of them every row (N,) has."""

    distinct: list[list[str] | None]
    rows: NDArray[np.int64]


def read_lists(column: pd.Series[Any], separator: str | None, where: str) -> Lists | None:
    """The categories that every row lists, each once; None for a column of single values.

    Lists of Parquet, of Python and of JSON are known by their form; a row without one says nothing. With
    ``separator``, a blank cell lists no category.

    Raises
    ------
    DataError
        Beginning with ``where``: lists that cannot be read, or with a name that is no text.
    ConfigError
        For a separator that is empty or not needed.
    """
    cells = column.tolist() if column.dtype == object else None
    if cells is not None and any(isinstance(cell, list | np.ndarray) for cell in cells):
        cells = [tuple(cell) if isinstance(cell, list | np.ndarray) else cell for cell in cells]
        column = pd.Series(cells, dtype=object)
        holds_lists, read = True, _of_parquet
    else:
        filled = [cell for cell in column.unique() if isinstance(cell, str) and cell.strip()]
        holds_lists, read = bool(filled) and all(map(_is_written_list, filled)), _of_text
    if not holds_lists and separator is None:
        return None
    if separator == "" or (separator is not None and holds_lists):
        reason = "is empty" if separator == "" else f"is not needed: {where} holds lists"
        raise ConfigError(f"data.label_separator {reason}; leave it out")
    codes, distinct = pd.factorize(column)  # blanks of Parquet are -1, which takes the last
    parse: Callable[[Any], list[str] | None] = read if holds_lists else lambda cell: str(cell).split(separator)
    lists: list[list[str] | None] = []
    for code, cell in enumerate(distinct):
        try:
            names = parse(cell)
        except ValueError as error:
            raise DataError(f"{where}, row {np.flatnonzero(codes == code)[0]}: {error}") from None
        lists.append(None if names is None else list(dict.fromkeys(filter(None, map(same_name, names)))))
    return Lists([*lists, None], codes.astype(np.int64))


def labels_from_lists(
    lists: Sequence[Sequence[str] | None], categories: Sequence[str], unlisted: float = 0.0
) -> NDArray[np.float32]:
    """Labels (N, C), as :meth:`LabelTable.from_wire` takes them, of the positive categories that every sample lists.

    Parameters
    ----------
    lists : N lists of categories; None where nothing is known of a sample
    unlisted : what a category is that a sample does not list: 0, or NaN (unknown)
    """
    index = {name: c for c, name in enumerate(categories)}
    labels = np.full((len(lists), len(categories)), unlisted, dtype=np.float32)
    for row, names in enumerate(lists):
        if names is None:
            labels[row] = np.nan
        else:
            labels[row, [index[name] for name in names]] = 1
    return labels


def _is_written_list(cell: str) -> bool:
    return cell.strip()[:1] == "[" and cell.strip()[-1:] == "]"


def _of_parquet(cell: Any) -> list[str] | None:
    return None if not isinstance(cell, tuple) and pd.isna(cell) else _names(cell)


def _of_text(cell: Any) -> list[str] | None:
    """A list as Python or JSON writes it."""
    if not isinstance(cell, str) or not cell.strip():
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return _names(read(cell.strip()))
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            if "is not the name" in str(error):
                raise
    raise ValueError(
        f"{cell.strip()!r:.60} is no list as Python or JSON writes it; write it as a|b and set data.label_separator"
    )


def _names(values: Iterable[Any]) -> list[str]:
    numbers = (int, np.integer)
    names = [str(value) if isinstance(value, numbers) and not isinstance(value, bool) else value for value in values]
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{str(name)!r:.60} is not the name of a category")
    return names
