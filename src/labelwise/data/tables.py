"""Tables that users hand over, as spreadsheets and scripts write them: CSV and TSV (also .gz), JSON lines, Parquet."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet
from pandas.api.types import union_categoricals

from labelwise.config.formats import TABLE_ENDINGS
from labelwise.data.notes import assume
from labelwise.errors import DataError
from labelwise.textfile import NOT_JSON

_CHUNK = 100_000  # rows of a CSV that are parsed at a time
_FEW = 0.1  # share of different cells below which a column is held as categories
_SEPARATORS = ";\t|"


@dataclass(frozen=True)
class _Form:
    """How a CSV is written: its encoding and separator, the names of its columns, and the lines before them."""

    encoding: str
    separator: str
    header: list[str]
    before: int


def read_table(path: Path, columns: Collection[str] | None = None) -> pd.DataFrame:
    """A table; of a CSV every value as text, blanks as "".

    A CSV is UTF-8, or UTF-16 with a byte order mark. Its columns are separated by commas, or where its header has none
    by semicolons, tabs or ``|``. Blanks around the names of its columns are dropped.

    Parameters
    ----------
    columns : those that are kept, of those that are there; default: all. Of a large CSV a part is read at a time, and
        columns of few different cells are held as categories, so that the whole need not fit into memory

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, such as text that is not UTF-8, or rows with more values
        than the header has names.
    """
    ending = table_ending(path)
    with _in_one_line(path):
        if ending == ".parquet":
            schema = pyarrow.parquet.read_schema(path).names
            return pd.read_parquet(path, columns=None if columns is None else [c for c in schema if c in columns])
        if ending == ".jsonl":
            return _read_lines(path, columns)
        return _read_csv(path, _form_of(path), columns)


def read_header(path: Path) -> list[str]:
    """The names of a table's columns; a CSV may have one twice. Errors are those of :func:`read_table`."""
    ending = table_ending(path)
    with _in_one_line(path):
        if ending == ".parquet":
            return list(pyarrow.parquet.read_schema(path).names)
        return [str(name) for name in _read_lines(path, None)] if ending == ".jsonl" else _form_of(path).header


def table_ending(path: Path) -> str:
    """The ending of a table's name that says how it is written.

    Raises
    ------
    DataError
        If there is no such file, or if it has another ending.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    ending = next((ending for ending in TABLE_ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise DataError(f"{path}: not a table; understood are {', '.join(TABLE_ENDINGS)}")
    return ending


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Errors of pandas and pyarrow as what they mean."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from None
    except MemoryError:
        gigabytes = path.stat().st_size / 1e9
        raise DataError(f"{path}: its {gigabytes:.1f} GB do not fit into memory; leave out columns or rows") from None
    except (OSError, EOFError, zlib.error, *NOT_JSON) as error:  # their parser errors are ValueErrors
        raise DataError(f"{path}: cannot be read as a table ({' '.join(str(error).split())})") from None


def _form_of(path: Path) -> _Form:
    """How a CSV is written, from its first lines."""
    packed = path.suffix.lower() == ".gz"
    with gzip.open(path) if packed else path.open("rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = "utf-16" if wide else "utf-8-sig"  # Excel begins UTF-8 with a mark, too
    with gzip.open(path, "rt", encoding=encoding) if packed else path.open(encoding=encoding) as lines:
        before, line = 0, lines.readline()
        while line and (not line.strip() or line.lower().startswith("sep=")):  # pandas skips blank lines; Excel's hint
            before, line = before + 1, lines.readline()
        if not line.strip():
            raise DataError(f"{path}: empty, no line in it")
        separator = "," if "," in line else max(_SEPARATORS, key=line.count)
        separator = separator if separator in line else ","
        while line.count('"') % 2 and (more := lines.readline()):  # a name that goes on in the next line
            line += more
    header = [name.strip() for name in next(csv.reader(line.splitlines(keepends=True), delimiter=separator))]
    if separator != ",":
        assume(f"{path}: its columns are separated by {'tabs' if separator == chr(9) else separator}")
    if wide:
        assume(f"{path}: its text is UTF-16, by its first two bytes")
    return _Form(encoding, separator, header, before)


def _read_csv(path: Path, form: _Form, columns: Collection[str] | None) -> pd.DataFrame:
    options = {"sep": form.separator, "encoding": form.encoding, "skiprows": form.before, "keep_default_na": False}
    first = pd.read_csv(path, dtype=str, nrows=1000, **options)
    kept = [name for name in first.columns if columns is None or name.strip() in columns]
    kinds = dict.fromkeys(first.columns, "str")
    if columns is not None and len(first) == 1000:
        kinds |= {name: "category" for name in kept if first[name].nunique() < _FEW * len(first)}
    # All columns are parsed: with `usecols`, pandas takes rows that have more values than the header has names.
    parts = []
    for part in pd.read_csv(path, dtype=kinds, chunksize=_CHUNK, **options):
        if not isinstance(part.index, pd.RangeIndex):
            raise DataError(
                f"{path}: its rows have more values than its header has names, such as by a comma at their end;"
                " remove the comma, or name the column"
            )
        parts.append(part[kept])
    frame = pd.DataFrame({name.strip(): _joined([part[name] for part in parts]) for name in kept})
    return frame if kept else pd.DataFrame(index=pd.RangeIndex(sum(map(len, parts))))


def _read_lines(path: Path, columns: Collection[str] | None) -> pd.DataFrame:
    """A JSON object a line; values that are no text stay what they are."""
    with path.open(encoding="utf-8-sig") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    if odd := next((row for row in rows if not isinstance(row, dict)), None):
        raise DataError(f"{path}: a line holds {str(odd)[:40]!r}, expected an object")
    names = list(dict.fromkeys(name for row in rows for name in row if columns is None or name in columns))
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})


def _joined(parts: list[pd.Series]) -> pd.Series:
    """The parts of a column, one after the other."""
    if isinstance(parts[0].dtype, pd.CategoricalDtype):
        return pd.Series(union_categoricals(parts))
    return pd.concat(parts, ignore_index=True)
