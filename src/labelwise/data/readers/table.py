"""A CSV or Parquet manifest: one image a row, its path, its label or labels, and perhaps its split and group.

==============  =====================================================================================================
single label    ``data.label_column``: a class name or index
a column each   ``data.label_columns``, or ``"*"`` for all columns that are nothing else: 1 or true positive, 0 or false
                negative, blank unknown, -1 uncertain, between 0 and 1 soft
a list          ``data.label_column`` lists the positive categories: text with ``data.label_separator``, lists as Python
                or JSON writes them, or a Parquet column of lists. What is not listed is ``data.unlisted``; where a list
                is missing nothing is known
==============  =====================================================================================================
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.config import TableConfig
from labelwise.data.dataset import Samples
from labelwise.data.decode import SUFFIXES
from labelwise.data.files import as_strings, encode_labels, parse_parts, refuse_repeated
from labelwise.data.notes import assume, tell
from labelwise.data.readers.lists import labels_from_lists, read_lists
from labelwise.data.readers.located import locate
from labelwise.data.tables import read_header, read_table, table_ending
from labelwise.errors import ConfigError, DataError
from labelwise.labels.table import UNKNOWN, LabelTable

_DEFAULT_SPLIT = TableConfig.model_fields["split_column"].default
_WORDS = {"": math.nan, "true": 1.0, "false": 0.0}
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_USUAL = {
    "image_column": (
        *(
            "filename",
            "file_name",
            "file",
            "filepath",
            "image",
            "image_path",
            "image_name",
            "img",
            "image_id",
            "imageid",
        ),
        *("image index", "name", "id"),
    ),
    "label_column": ("class", "category", "target", "labels", "class_name", "classname", "choice", "tags", "y"),
}
"""What the columns are often called in other tables."""


def read(config: TableConfig) -> Samples:
    """Image files that a manifest lists; ids are the paths as it writes them. No image is decoded.

    Relative paths start at ``config.root``, otherwise at the manifest's folder; ``located`` finds what is written
    otherwise. Labels of single-label data are class names (sorted), or integers, which are class indices; categories
    that are listed are sorted, those with a column each keep the order of the columns. The column ``split`` may be
    absent. A row that repeats another one counts once.

    Raises
    ------
    DataError
        Naming the manifest and the column or the path: a missing column, a blank path, one path in rows that differ, an
        image that is not there (unless ``unreadable: skip``, which lists it later), an unknown split, a cell that is no
        label, a category named twice, no label at all.
    ConfigError
        For options that do not go together.
    """
    path = Path(config.source)
    header = read_header(path, config.encoding)
    if path.is_dir():
        config = _as_exported(config, header)
    categories = _category_columns(path, header, config) if config.label_columns else ()
    wanted = {"image_column": config.image_column}
    if not categories:
        wanted["label_column"] = config.label_column
    if config.group_column is not None:
        wanted["group_column"] = config.group_column
    if config.split_column in header or config.split_column != _DEFAULT_SPLIT:
        wanted["split_column"] = config.split_column
    for option, name in wanted.items():
        _refuse_unnamed(path, header, option, name)
    frame = read_table(path, {*categories, *wanted.values()}, config.encoding)
    if len(frame) == 0:
        raise DataError(f"{path}: no rows")
    ids, groups = read_ids(path, frame, config)
    once = rows_once(path, frame, ids, config.image_column)
    table = _label_table(path, frame, config, categories)
    if table is None:
        values = _column(path, frame, "label_column", config.label_column)
        label, classes = encode_labels(values, None, f"{path}: {config.label_column}")
        _tell_lists(f"{path}: {config.label_column}", classes)
    else:
        label, classes = np.full(len(frame), -1, dtype=np.int64), table.categories
    part = np.full(len(frame), "")
    if "split_column" in wanted:
        column = _column(path, frame, "split_column", config.split_column)
        part = parse_parts(column, f"{path}: {config.split_column}")
    _tell_columns(path, header, config, categories)
    return Samples(
        name=path.resolve().name if path.is_dir() else path.name[: -len(table_ending(path))],
        classes=classes,
        ids=ids[once],
        label=label[once],
        part=part[once],
        source=locate(path, root_of(path, config), ids[once].tolist(), config),
        groups=None if groups is None else groups[once],
        table=None if table is None else table.take(once),
    )


def read_ids(path: Path, frame: pd.DataFrame, config: TableConfig) -> tuple[NDArray[np.str_], NDArray[np.str_] | None]:
    """Ids and groups, if any, of a table's rows. Errors as :func:`read`."""
    names = _column(path, frame, "image_column", config.image_column)
    if len(names) and isinstance(names[0], dict):
        raise DataError(f"{path}: {config.image_column!r} holds images, no paths; give data.source=hf:{path.parent}")
    ids = as_strings(names)
    groups = None
    if config.group_column is not None:
        groups = as_strings(_column(path, frame, "group_column", config.group_column))
        groups = np.where(np.isin(groups, ["", "nan"]), ids, groups)  # a row without a group is its own
    return ids, groups


def root_of(path: Path, config: TableConfig) -> Path:
    """Where the relative paths of a table start."""
    if config.root is not None:
        return Path(config.root)
    return path if path.is_dir() else path.parent


def _as_exported(config: TableConfig, header: Sequence[str]) -> TableConfig:
    """The columns as Hugging Face and Roboflow call them, where the options do not name others."""
    usual: dict[str, Any] = {"image_column": "filename", "label_columns": ("*",)}
    if "file_name" in header:
        usual = {"image_column": "file_name", "label_column": "label" if "label" in header else "labels"}
    return config.model_copy(update={key: name for key, name in usual.items() if key not in config.model_fields_set})


def refuse_missing(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Raise DataError for the first of ``columns`` that a table has not."""
    for name in columns:
        if name not in header:
            raise DataError(f"{path}: no column {name!r}; it has {', '.join(header)}")


def parse_label_columns(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float32]:
    """Labels (N, C) of one column a category, as :meth:`LabelTable.from_wire` takes them: NaN unknown, -1 uncertain.

    Raises
    ------
    DataError
        Naming the first row, column and value that is no label.
    """
    labels = np.empty((len(frame), len(columns)), dtype=np.float32)
    for c, name in enumerate(columns):
        try:
            codes, distinct = pd.factorize(frame[name])  # a column has few different cells; blanks of Parquet are -1
        except TypeError:
            raise DataError(
                f"{path}: column {name!r} holds lists; a cell of data.label_columns holds one label"
            ) from None
        values = [_cell(value) for value in distinct]
        for code, value in enumerate(values):
            if value is None:
                row = frame.index[np.flatnonzero(codes == code)[0]]
                raise DataError(
                    f"{path}: row {row}, column {name!r}: {str(distinct[code])!r} is not a label; use 1, 0, blank"
                    " (unknown), -1 (uncertain), true, false or a soft label between 0 and 1"
                )
        labels[:, c] = np.array([*values, math.nan], dtype=np.float32)[codes]  # code -1 takes the last
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


def rows_once(path: Path, frame: pd.DataFrame, ids: NDArray[np.str_], column: str) -> NDArray[np.int64]:
    """The rows of a table without those that repeat another one in all of ``frame``; a line on stderr counts them.

    Raises
    ------
    DataError
        For a blank path among ``ids`` (N,) of the table's ``column``, or for one path in rows that differ.
    """
    if (blank := np.flatnonzero(ids == "")).size:
        raise DataError(f"{path}: row {blank[0]} has no path in {column!r}")
    names = pd.Series([posixpath.normpath(name) for name in ids.tolist()])  # ./a.png is a.png
    several = np.flatnonzero(names.duplicated(keep=False))
    again = frame.iloc[several].drop(columns=column).astype(str).assign(path=names[several].to_numpy()).duplicated()
    once = np.setdiff1d(np.arange(len(ids)), several[again.to_numpy()])
    try:
        refuse_repeated(names[once], f"{path}: {column}")
    except DataError as error:
        raise DataError(f"{error}, in rows that differ; write one row with all labels of the image") from None
    if repeated := len(ids) - len(once):
        tell(f"{path}: rows that repeat another one, and count once: {repeated:,}")
    return once


def _tell_columns(path: Path, header: Sequence[str], config: TableConfig, categories: Sequence[str]) -> None:
    """Which columns were used, and which were not."""
    label = categories or (config.label_column,)
    named = {"images": config.image_column, "splits": config.split_column, "groups": config.group_column}
    used = [f"{what} in {name!r}" for what, name in named.items() if name in header]
    what = f"{len(categories)} columns of categories" if categories else f"labels in {config.label_column!r}"
    assume(f"{path}: columns: {', '.join([*used, what])}")
    unused = [name for name in header if name not in {*named.values(), *label}]
    if unused:
        near = [name for name in unused if name.lower() == _DEFAULT_SPLIT]
        hint = f"; data.split_column={near[0]} reads the split" if near and config.split_column not in header else ""
        more = f" and {len(unused) - 10} more" if len(unused) > 10 else ""
        shown = [name or "one without a name" for name in unused[:10]]
        tell(f"{path}: columns not used: {', '.join(shown)}{more}{hint}")


def _tell_lists(where: str, classes: Sequence[str]) -> None:
    """Say which classes may be lists of categories: those that fewer words are enough for."""
    for separator in ("|", ";", ",", " "):
        listed = [name for name in classes if separator in name]
        words = {word for name in classes for word in name.split(separator)}
        if listed and len(words) < len(classes):
            tell(f"{where}: {listed[0]!r} is one class; if it lists categories, set data.label_separator={separator!r}")
            return


def _label_table(path: Path, frame: pd.DataFrame, config: TableConfig, categories: Sequence[str]) -> LabelTable | None:
    """Multi-label data; None where the label column holds one class a row."""
    separator = config.label_separator
    if categories:
        if separator is not None or config.unlisted != "negative":
            option = "unlisted" if separator is None else "label_separator"
            raise ConfigError(
                f"data.label_columns and data.{option} do not go together: label_columns is for a column per category,"
                f" {option} for one column that lists the categories"
            )
        labels = parse_label_columns(path, frame, categories)
        if set(np.unique(labels[~np.isnan(labels)]).tolist()) == {-1.0, 1.0}:
            tell(f"{path}: its cells are 1 and -1 alone; -1 is uncertain, so write 0 where it means negative")
        return to_table(path, labels, categories)
    where = f"{path}: column {config.label_column!r}"
    found = read_lists(frame[config.label_column], separator, where)
    if found is None:
        return None
    names = sorted({name for listed in found.distinct for name in listed or ()})
    if not names:
        raise DataError(f"{where} lists no category in any row")
    assume(f"{where} lists categories; what a row does not list is {config.unlisted} (data.unlisted)")
    unlisted = 0.0 if config.unlisted == "negative" else math.nan
    return to_table(path, labels_from_lists(found.distinct, names, unlisted)[found.rows], names)


def _category_columns(path: Path, header: Sequence[str], config: TableConfig) -> tuple[str, ...]:
    named = config.label_columns
    refuse_repeated((name for name in header if name in named or named == ("*",)), f"{path}: column")
    if named == ("*",):
        other = (config.image_column, config.split_column, config.group_column, config.label_column)
        named = tuple(name for name in header if name not in other)
        if not named:
            raise DataError(f"{path}: data.label_columns is '*', but it has only {', '.join(header)}")
    if "*" in named and "*" not in header:
        raise ConfigError("data.label_columns: '*' stands for all columns; name no other column beside it")
    refuse_missing(path, header, named)
    return named


def _cell(value: Any) -> float | None:
    """A label as a number, NaN where it is unknown; None if it is none."""
    try:
        word = value.strip().lower() if isinstance(value, str) else value
        if isinstance(word, str) and _DECIMAL_COMMA.fullmatch(word):
            word = word.replace(",", ".")
        number = _WORDS[word] if word in _WORDS else float(word)
    except (TypeError, ValueError):
        return None
    return number if math.isnan(number) or number == -1 or 0 <= number <= 1 else None


def _refuse_unnamed(path: Path, header: Sequence[str], option: str, name: str) -> None:
    """Refuse a table without a column, with the name that is likely meant."""
    if name in header:
        return
    known = {column.lower(): column for column in reversed(header)}
    near = next((known[word] for word in (name.lower(), *_USUAL.get(option, ())) if word in known), None)
    hint = f"; set data.{option}={near}" if near else ""
    if option == "label_column" and not near:
        hint = "; data.label_columns is for a column per category"
    if any(column.lower().endswith(tuple(SUFFIXES)) for column in header):
        hint = "; write a line with the names of the columns above the first image"
    raise DataError(f"{path}: no column {name!r} (data.{option}); it has {', '.join(header)}{hint}")


def _column(path: Path, frame: pd.DataFrame, option: str, name: str) -> NDArray[Any]:
    _refuse_unnamed(path, list(frame.columns), option, name)
    column = frame[name]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return np.asarray(column.astype(object).where(column.notna(), ""))
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan) if column.isna().any() else column)
