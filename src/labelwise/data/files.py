"""Arrays and columns of files that users hand over, with errors that name row and column."""

from __future__ import annotations

import re
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.data.notes import assume, tell
from labelwise.errors import DataError

# How data sets spell their parts, and what Samples.part calls them.
PARTS = {
    "train": "train",
    "training": "train",
    "fit": "fit",
    "select": "select",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_NUMBERED_PARTS = ("fit", "select", "test")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an .npz file, never unpickled.

    Raises
    ------
    DataError
        If the file is missing, damaged, not an .npz, or holds pickled objects.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if not zipfile.is_zipfile(path):  # np.load would take it for a pickle
            raise DataError(f"{path}: truncated or not an .npz file")
        with np.load(path, allow_pickle=False) as loaded:
            return {key: loaded[key] for key in loaded.files}
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, SyntaxError) as error:
        raise DataError(f"{path}: damaged or not an .npz file ({error})") from None
    except MemoryError as error:
        raise DataError(f"{path}: larger than memory, or its header is damaged ({error})") from None
    except ValueError as error:
        reason = "holds pickled objects, which are not loaded" if "allow_pickle" in str(error) else f"damaged ({error})"
        raise DataError(f"{path}: {reason}") from None


@lru_cache(2**16)  # samples have few different names
def same_name(name: str) -> str:
    """A class or category as it is called: names that look alike (blanks at the ends, composed accents) are one."""
    return unicodedata.normalize("NFC", name).strip()


def refuse_repeated(values: Iterable[Hashable], where: str) -> None:
    """Raise DataError for the first value that is there more than once; the message begins with ``where``."""
    for value, times in Counter(values).items():
        if times > 1:
            raise DataError(f"{where} {value!r} is listed {'twice' if times == 2 else f'{times} times'}")


def as_strings(values: Any, where: str = "") -> NDArray[np.str_]:
    """Ids, groups or names of any type as text (N,); bytes are taken as UTF-8.

    Raises
    ------
    DataError
        For bytes that are not UTF-8, with the row, and for any other shape; the message begins with ``where``.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{where}expected a list of names, got an array of shape {array.shape}")
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            row = array.tolist().index(error.object)
            raise DataError(f"{where}entry {row}, {error.object!r}, is not UTF-8; save names as text") from None
    return np.array([str(value) for value in array.tolist()], dtype=np.str_)


_NO_VALUE = ("", "nan", "NaN", "None", "<NA>", "NaT")
_NO_GROUP = "no group: "


def own_groups(groups: NDArray[np.str_], ids: NDArray[np.str_]) -> NDArray[np.str_]:
    """The groups (N,); where a cell is blank, NaN or None, the sample is a group of its own, named by its id."""
    return np.where(np.isin(groups, _NO_VALUE), np.char.add(_NO_GROUP, ids), groups)


def without_group(groups: NDArray[np.str_]) -> int:
    """How many samples `own_groups` made a group of their own."""
    return int(np.char.startswith(groups, _NO_GROUP).sum())


def parse_parts(values: Any, where: str) -> NDArray[np.str_]:
    """Names of parts (N,) in :class:`labelwise.data.dataset.Samples`' spelling; integers 0, 1, 2 are fit, select, test.

    Raises
    ------
    DataError
        Naming the first row that says something else.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        known: dict[Any, str] = dict(enumerate(_NUMBERED_PARTS))
        keys: Sequence[Any] = array.tolist()
    else:
        known = {
            "": "",
            "unassigned": "",
            **PARTS,
            **{str(number): part for number, part in enumerate(_NUMBERED_PARTS)},
        }
        keys = [name.strip().lower() for name in as_strings(array, f"{where}: ").tolist()]
    for row, key in enumerate(keys):
        if key not in known:
            allowed = "fit, select, test, train, val or 0, 1, 2"
            raise DataError(f"{where}: row {row} says {array[row]!s}, expected {allowed}")
    return np.array([known[key] for key in keys], dtype=np.str_)


def encode_labels(values: Any, classes: Sequence[str] | None, where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels (N,) as class indices, and the classes.

    Where ``classes`` are given, integers are indices into them, and other text is names. Where they are not, all
    labels are names, sorted (integers by their value): 0 to K - 1 keep their numbers, and codes of articles or species
    may be as large as they like. -1 and blanks are unlabelled (-1).

    Raises
    ------
    DataError
        For labels that are not one per sample, not integers, out of range or not among the classes; names the row.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        kind = " (multi-label data; refine works on single-label data)" if array.ndim == 2 else ""
        raise DataError(f"{where}: one label per sample is needed, shape is {array.shape}{kind}")
    if array.dtype.kind not in "iufb":
        written = ["" if value is None or value != value else str(value) for value in _decoded(array)]
        array = np.array(list(map(same_name, written)))
        _tell_alike(set(written), where)
        if not all(_INTEGER.fullmatch(value) for value in array.tolist() if value):
            return _encode_names(array, classes, where)
        assume(f"{where}: labels are whole numbers; they name classes in ascending order, -1 and blanks are unlabelled")
        numbers = [int(value) if value else -1 for value in array.tolist()]
        array = np.array(numbers, dtype=object if max(map(abs, numbers), default=0) > 2**62 else np.int64)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), -1, array)
        _refuse(array != np.rint(array), array, where, "is not a whole number")
    if classes is None:
        _refuse(array < -1, array, where, "is out of range: below -1, which stands for no label")
        names, place = np.unique(array, return_inverse=True)
        first = int(len(names) > 0 and names[0] == -1)
        return place.astype(np.int64) - first, tuple(str(int(name)) for name in names[first:])
    outside = (array < -1) | (array >= len(classes))
    _refuse(outside, array, where, f"is out of range: {len(classes)} classes, 0 to {len(classes) - 1}")
    return array.astype(np.int64), tuple(classes)


def _tell_alike(written: set[str], where: str) -> None:
    """Say which labels are one class, though they are written in two ways, and which are two that look like one."""
    changed = sorted(name for name in written if same_name(name) not in ("", name))
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        tell(f"{where}: {changed[0]!r} is taken for {same_name(changed[0])!r}{more}: blanks at its ends do not count")
    in_small = sorted(map(same_name, written), key=lambda name: (name.lower(), name))
    alike = [(one, two) for one, two in pairwise(in_small) if one != two and one.lower() == two.lower()]
    if alike:
        more = f" (and {len(alike) - 1} more pairs)" if len(alike) > 1 else ""
        tell(f"{where}: {alike[0][0]!r} and {alike[0][1]!r} are two classes{more}: capital letters count")


def _decoded(array: NDArray[Any]) -> list[Any]:
    """Elements of a text or object array, bytes decoded."""
    return list(as_strings(array) if array.dtype.kind == "S" else array)


def _encode_names(
    names: NDArray[np.str_], classes: Sequence[str] | None, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if classes is None:
        classes = tuple(sorted(set(names.tolist()) - {""}))
    index = {"": -1, **{same_name(name): i for i, name in reversed(list(enumerate(classes)))}}
    unknown = np.array([name not in index for name in names.tolist()], dtype=bool)
    _refuse(unknown, names, where, f"is not a class: {', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}")
    return np.array([index[name] for name in names.tolist()], dtype=np.int64), tuple(classes)


def _refuse(bad: NDArray[np.bool_], values: NDArray[Any], where: str, problem: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        raise DataError(f"{where}: label {values[rows[0]]!s} of row {rows[0]} {problem}{more}")
