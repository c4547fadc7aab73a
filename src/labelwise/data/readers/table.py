"""A CSV or Parquet manifest: one image a row, its path, its label or labels, and perhaps its split and group.

==============  =====================================================================================================
single label    ``data.label_column``: a class name or index
a column each   ``data.label_columns``, or ``"*"`` for all columns that are nothing else: 1 or true positive, 0 or false
                negative, blank unknown, -1 uncertain, between 0 and 1 soft
a list          ``data.label_column`` lists the positive categories: text with ``data.label_separator``, or a Parquet
                column of lists. What is not listed is ``data.unlisted``; without a value (Parquet) nothing is known
==============  =====================================================================================================
"""

from __future__ import annotations

import math
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.config import DataConfig, TableConfig
from labelwise.data.dataset import ImageFiles, Samples
from labelwise.data.files import as_strings, encode_labels, parse_parts, read_table, refuse_repeated, same_name, tell
from labelwise.data.memory import as_asked
from labelwise.data.readers.folder import SUFFIXES
from labelwise.errors import ConfigError, DataError
from labelwise.labels.table import UNKNOWN, LabelTable

_DEFAULT_SPLIT = TableConfig.model_fields["split_column"].default
_WORDS = {"": math.nan, "true": 1.0, "false": 0.0}


def read(config: TableConfig) -> Samples:
    """Image files that a manifest lists; ids are the paths as it writes them. No image is decoded.

    Relative paths start at ``config.root``, otherwise at the manifest's folder. Labels of single-label data are class
    names (sorted), or integers, which are class indices; categories that are listed are sorted, those with a column
    each keep the order of the columns. The column ``split`` may be absent.

    Raises
    ------
    DataError
        Naming the manifest and the column or the path: a missing column, a blank or repeated path, an image that is
        not there (unless ``unreadable: skip``, which lists it later), an unknown split, a cell that is no label, a
        category named twice, no label at all.
    ConfigError
        For options that do not go together.
    """
    path = Path(config.source)
    frame = read_table(path)
    if len(frame) == 0:
        raise DataError(f"{path}: no rows")
    _existing(path, frame, "image_column", config.image_column)
    table = _label_table(path, frame, config)
    if table is None:
        values = _column(path, frame, "label_column", config.label_column)
        _refuse_lists(path, config.label_column, values)
        label, classes = encode_labels(values, None, f"{path}: {config.label_column}")
    else:
        label, classes = np.full(len(frame), -1, dtype=np.int64), table.categories
    part = np.full(len(frame), "")
    if config.split_column in frame or config.split_column != _DEFAULT_SPLIT:
        column = _column(path, frame, "split_column", config.split_column)
        part = parse_parts(column, f"{path}: {config.split_column}")
    ids, source, groups = read_paths(path, frame, config)
    _tell_unused(path, frame, config, () if table is None else table.categories)
    return Samples(path.stem, classes, ids, label, part, source, groups, table=table)


def _refuse_lists(path: Path, column: str, values: NDArray[Any]) -> None:
    """Lists as a spreadsheet or pandas writes them would make each combination a class."""
    cells = {value for value in values.tolist() if value != ""}
    if cells and all(isinstance(cell, str) and cell.startswith("[") and cell.endswith("]") for cell in cells):
        raise DataError(
            f"{path}: column {column!r} holds lists as text, such as {min(cells, key=len)!r}; write the categories of a"
            " row as a|b with data.label_separator, or save the lists as Parquet"
        )


def read_paths(
    path: Path, frame: pd.DataFrame, config: TableConfig
) -> tuple[NDArray[np.str_], ImageFiles, NDArray[np.str_] | None]:
    """Ids, image files and groups, if any, of a table's rows. Errors as :func:`read`."""
    ids = as_strings(_column(path, frame, "image_column", config.image_column))
    groups = None
    if config.group_column is not None:
        groups = as_strings(_column(path, frame, "group_column", config.group_column))
        groups = np.where(np.isin(groups, ["", "nan"]), ids, groups)  # a row without a group is its own
    refuse_bad_ids(path, ids, config.image_column)
    root = path.parent if config.root is None else Path(config.root)
    return ids, image_files(path, [root / name for name in ids.tolist()], config), groups


def parse_label_columns(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float32]:
    """Labels (N, C) of one column a category, as :meth:`LabelTable.from_wire` takes them: NaN unknown, -1 uncertain.

    Raises
    ------
    DataError
        For a missing column, or naming the first row, column and value that is no label.
    """
    labels = np.empty((len(frame), len(columns)), dtype=np.float32)
    for c, name in enumerate(columns):
        if name not in frame:
            raise DataError(f"{path}: no column {name!r}; it has {', '.join(map(str, frame.columns))}")
        try:
            codes, distinct = pd.factorize(frame[name])  # a column has few different cells; blanks of Parquet are -1
        except TypeError:
            raise DataError(
                f"{path}: column {name!r} holds lists; a cell of data.label_columns holds one label"
            ) from None
        values = [_cell(value) for value in distinct]
        for code, value in enumerate(values):
            if value is None:
                row = np.flatnonzero(codes == code)[0]
                raise DataError(
                    f"{path}: row {row}, column {name!r}: {str(distinct[code])!r} is not a label; use 1, 0, blank"
                    " (unknown), -1 (uncertain), true, false or a soft label between 0 and 1"
                )
        labels[:, c] = np.array([*values, math.nan], dtype=np.float32)[codes]  # code -1 takes the last
    return labels


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


def to_table(path: Path, labels: NDArray[np.float32], categories: Sequence[str]) -> LabelTable:
    """The label table of a file's labels (N, C).

    Raises
    ------
    DataError
        If a category is named twice, or if every label is unknown.
    """
    table = LabelTable.from_wire(labels, categories, name=str(path))
    if (table.source == UNKNOWN).all():
        some = ", ".join(categories[:3]) + (", ..." if len(categories) > 3 else "")
        raise DataError(f"{path}: every label is blank in {some}")
    return table


def refuse_bad_ids(path: Path, ids: NDArray[np.str_], column: str) -> None:
    """Raise DataError for a blank or repeated path among ``ids`` (N,) of a table's ``column``."""
    if (blank := np.flatnonzero(ids == "")).size:
        raise DataError(f"{path}: row {blank[0]} has no path in {column!r}")
    refuse_repeated(map(posixpath.normpath, ids.tolist()), f"{path}: {column}")  # ./a.png is a.png


def image_files(path: Path, paths: Sequence[Path], config: DataConfig) -> ImageFiles:
    """The image files that a table lists, grey or colour as the options or their headers say.

    A path may have backslashes, as on Windows, or lack the ending of the one image file of its name.

    Raises
    ------
    DataError
        If one is not there, unless ``unreadable: skip``, which lists it later.
    """
    inside = cache(_by_stem)  # folders are few
    paths = [path if path.is_file() else _as_meant(path, inside) for path in paths]
    if config.unreadable == "fail":
        missing = [image for image in paths if not image.is_file()]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise DataError(
                f"{path}: {missing[0]} is listed but not there{more}; set data.root to the folder where the paths start"
            )
    return as_asked(ImageFiles(tuple(paths), 3), config)


def _as_meant(path: Path, inside: Callable[[Path], dict[str, Path]]) -> Path:
    """The file that a path stands for that is not there as it is written."""
    path = Path(str(path).replace("\\", "/"))
    return path if path.is_file() else inside(path.parent).get(path.name, path)


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images in a folder by their names without an ending; without those that several share."""
    images = [path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES]
    times = Counter(path.stem for path in images)
    return {path.stem: path for path in images if times[path.stem] == 1}


def _tell_unused(path: Path, frame: pd.DataFrame, config: TableConfig, categories: Sequence[str]) -> None:
    label = categories if config.label_columns else (config.label_column,)
    used = {config.image_column, config.split_column, config.group_column, *label}
    unused = [str(name) for name in frame.columns if name not in used]
    if unused:
        near = [name for name in unused if name.strip().lower() == _DEFAULT_SPLIT]
        hint = f"; data.split_column={near[0]} reads the split" if near and config.split_column not in frame else ""
        more = f" and {len(unused) - 10} more" if len(unused) > 10 else ""
        tell(f"{path}: columns not used: {', '.join(unused[:10])}{more}{hint}")


def _label_table(path: Path, frame: pd.DataFrame, config: TableConfig) -> LabelTable | None:
    """Multi-label data; None where the label column holds one class a row."""
    separator = config.label_separator
    if config.label_columns:
        if separator is not None or config.unlisted != "negative":
            option = "unlisted" if separator is None else "label_separator"
            raise ConfigError(
                f"data.label_columns and data.{option} do not go together: label_columns is for a column per category,"
                f" {option} for one column that lists the categories"
            )
        columns = _category_columns(path, frame, config)
        return to_table(path, parse_label_columns(path, frame, columns), columns)
    cells = _existing(path, frame, "label_column", config.label_column).tolist()
    holds_lists = any(isinstance(cell, (list, np.ndarray)) for cell in cells)
    if separator is None and not holds_lists:
        return None
    if separator == "" or (separator is not None and holds_lists):
        reason = "is empty" if separator == "" else f"is not needed, column {config.label_column!r} holds lists"
        raise ConfigError(f"data.label_separator {reason}; leave it out")
    where = f"{path}: column {config.label_column!r}"
    lists = [_names(cell, separator, f"{where}, row {row}") for row, cell in enumerate(cells)]
    categories = sorted({name for names in lists for name in names or ()})
    if not categories:
        raise DataError(f"{where} lists no category in any row")
    unlisted = 0.0 if config.unlisted == "negative" else math.nan
    return to_table(path, labels_from_lists(lists, categories, unlisted), categories)


def _category_columns(path: Path, frame: pd.DataFrame, config: TableConfig) -> tuple[str, ...]:
    named = config.label_columns
    if path.suffix.lower() == ".csv":  # pandas would call a second "cat" "cat.1"
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        names = header.iloc[0].tolist()
        refuse_repeated((name for name in names if name in named or named == ("*",)), f"{path}: column")
    if named == ("*",):
        other = (config.image_column, config.split_column, config.group_column, config.label_column)
        named = tuple(str(name) for name in frame.columns if name not in other)
        if not named:
            raise DataError(f"{path}: data.label_columns is '*', but it has only {', '.join(map(str, frame.columns))}")
    if "*" in named and "*" not in frame:
        raise ConfigError("data.label_columns: '*' stands for all columns; name no other column beside it")
    return named


def _cell(value: Any) -> float | None:
    """A label as a number, NaN where it is unknown; None if it is none."""
    try:
        word = value.strip().lower() if isinstance(value, str) else value
        number = _WORDS[word] if word in _WORDS else float(word)
    except (TypeError, ValueError):
        return None
    return number if math.isnan(number) or number == -1 or 0 <= number <= 1 else None


def _names(cell: Any, separator: str | None, where: str) -> list[str] | None:
    """The categories that a cell lists, each once; None where it has no value."""
    if isinstance(cell, (list, np.ndarray)):
        names = [name if isinstance(name, str) else "" for name in cell]
        if "" in names:
            raise DataError(f"{where}: {str(cell[names.index('')])!r} is not the name of a category")
        return list(dict.fromkeys(map(same_name, names)))
    if cell is None or cell is pd.NA or cell != cell:
        return None
    return list(dict.fromkeys(name for part in str(cell).split(separator) if (name := same_name(part))))


def _existing(path: Path, frame: pd.DataFrame, option: str, name: str) -> pd.Series[Any]:
    if name not in frame:
        raise DataError(f"{path}: no column {name!r} (data.{option}); it has {', '.join(map(str, frame.columns))}")
    return frame[name]


def _column(path: Path, frame: pd.DataFrame, option: str, name: str) -> NDArray[Any]:
    column = _existing(path, frame, option, name)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return np.asarray(column.astype(object).where(column.notna(), ""))
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan) if column.isna().any() else column)
