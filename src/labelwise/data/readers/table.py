"""A CSV or Parquet manifest: one image a row, its path, its label, and perhaps its split and group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.config import DataConfig
from labelwise.data.dataset import ImageFiles, Samples
from labelwise.data.files import encode_labels, encode_parts, read_table, text
from labelwise.data.memory import guess_channels
from labelwise.errors import DataError

_DEFAULT_SPLIT = DataConfig.model_fields["split_column"].default


def read(config: DataConfig) -> Samples:
    """Image files that a manifest lists; ids are the paths as it writes them. No image is decoded.

    Relative paths start at ``config.root``, otherwise at the manifest's folder. Labels are class names (sorted), or
    integers, which are class indices. The column ``split`` may be absent.

    Raises
    ------
    DataError
        Naming the manifest and the column or the path: a missing column, a blank or repeated path, an image that is
        not there (unless ``unreadable: skip``, which lists it later), an unknown split.
    """
    path = Path(config.source)
    frame = read_table(path)
    if len(frame) == 0:
        raise DataError(f"{path}: no rows")
    ids = text(_column(path, frame, "image_column", config.image_column))
    label, classes = encode_labels(
        _column(path, frame, "label_column", config.label_column), None, f"{path}: {config.label_column}"
    )
    part = np.full(len(frame), "")
    if config.split_column in frame or config.split_column != _DEFAULT_SPLIT:
        column = _column(path, frame, "split_column", config.split_column)
        part = encode_parts(column, f"{path}: {config.split_column}")
    groups = None
    if config.group_column is not None:
        groups = text(_column(path, frame, "group_column", config.group_column))
        groups = np.where(np.isin(groups, ["", "nan"]), ids, groups)  # a row without a group is its own
    files = ImageFiles(_paths(path, ids, config), 3)
    return Samples(
        name=path.stem,
        classes=classes,
        ids=ids,
        label=label,
        part=part,
        source=ImageFiles(files.paths, guess_channels(files) if config.channels == "auto" else config.channels),
        groups=groups,
    )


def _column(path: Path, frame: pd.DataFrame, option: str, name: str) -> NDArray[Any]:
    if name not in frame:
        raise DataError(f"{path}: no column {name!r} (data.{option}); it has {', '.join(map(str, frame.columns))}")
    column = frame[name]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return np.asarray(column.astype(object).where(column.notna(), ""))
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan) if column.isna().any() else column)


def _paths(path: Path, ids: NDArray[np.str_], config: DataConfig) -> tuple[Path, ...]:
    names, count = np.unique(ids, return_counts=True)
    if names[0] == "":
        raise DataError(f"{path}: row {np.flatnonzero(ids == '')[0]} has no path in {config.image_column!r}")
    if (count > 1).any():
        raise DataError(f"{path}: {names[count > 1][0]!s} is listed {count[count > 1][0]} times")
    root = path.parent if config.root is None else Path(config.root)
    paths = tuple(root / name for name in ids.tolist())
    if config.unreadable == "fail":
        missing = [image for image in paths if not image.is_file()]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise DataError(f"{path}: {missing[0]} is listed but not there{more}; data.root is where paths start")
    return paths
