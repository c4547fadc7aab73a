"""Tables that users hand over, as spreadsheets and scripts write them: CSV and TSV (also .gz), JSON lines, Parquet,
lists of images (``.txt``), and Hugging Face's folders with a table in the folder of each part."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow.parquet
from pandas.api.types import union_categoricals

from labelwise.config.formats import TABLE_ENDINGS, is_table
from labelwise.data.decode import SUFFIXES
from labelwise.data.files import PARTS
from labelwise.data.notes import assume
from labelwise.errors import DataError
from labelwise.textfile import NOT_JSON

_ENDINGS = (*TABLE_ENDINGS, ".txt")
_LINES = (".jsonl", ".jsonl.gz")
_CHUNK = 100_000  # rows of a CSV that are parsed at a time
_FEW = 0.1  # share of different cells below which a column is held as categories
_SEPARATORS = ";\t|"
_IMAGE = rf".*?(?:{'|'.join(map(re.escape, sorted(SUFFIXES)))})"
_LISTED = re.compile(rf"({_IMAGE})[ \t,;]+(.*\S)", re.IGNORECASE)
_LIST_COLUMNS = ["path", "label"]


@dataclass(frozen=True)
class _Form:
    """How a CSV is written: its encoding and separator, the names of its columns, and the lines before them."""

    encoding: str
    separator: str
    header: list[str]
    before: int


def read_table(path: Path, columns: Collection[str] | None = None, encoding: str | None = None) -> pd.DataFrame:
    """A table; of a CSV every value as text, blanks as "".

    A CSV is UTF-8, or UTF-16 with a byte order mark. Its columns are separated by commas, or where its header has none
    by semicolons, tabs or ``|``. Blanks around the names of its columns are dropped.

    A ``.txt`` whose first line begins with an image is a list: the columns are ``path`` and ``label``. Other ``.txt``
    are read as CSV. A folder with ``train/metadata.csv`` or ``train/_classes.csv`` is one table of all its parts: their
    paths begin with the part, which the column ``split`` says too.

    Parameters
    ----------
    columns : those that are kept, of those that are there; default: all. Of a large CSV a part is read at a time, and
        columns of few different cells are held as categories, so that the whole need not fit into memory
    encoding : of text, for who has an option for it; default: UTF-8

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, such as text that is not UTF-8, or rows with more values
        than the header has names.
    """
    if path.is_dir():
        return _read_parts(path, columns, encoding)
    ending = table_ending(path)
    with _in_one_line(path, encoding):
        if ending == ".parquet":
            schema = pyarrow.parquet.read_schema(path).names
            return pd.read_parquet(path, columns=None if columns is None else [c for c in schema if c in columns])
        if ending in _LINES:
            return _read_lines(path, columns, encoding)
        if _is_list(path, encoding):
            return _read_list(path, encoding)
        return _read_csv(path, _form_of(path, encoding), columns)


def read_header(path: Path, encoding: str | None = None) -> list[str]:
    """The names of a table's columns; a CSV may have one twice. Errors are those of :func:`read_table`."""
    if path.is_dir():
        names = [name for file in metadata_files(path) for name in read_header(file, encoding)]
        return list(dict.fromkeys([*names, "split"]))
    ending = table_ending(path)
    with _in_one_line(path, encoding):
        if ending == ".parquet":
            return list(pyarrow.parquet.read_schema(path).names)
        if ending in _LINES:
            return [str(name) for name in _read_lines(path, None, encoding)]
        return list(_LIST_COLUMNS) if _is_list(path, encoding) else _form_of(path, encoding).header


def table_ending(path: Path) -> str:
    """The ending of a table's name that says how it is written.

    Raises
    ------
    DataError
        If there is no such file, or if it has another ending.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    ending = next((ending for ending in _ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise DataError(f"{path}: not a table; understood are {', '.join(_ENDINGS)}")
    return ending


@contextmanager
def _in_one_line(path: Path, encoding: str | None) -> Iterator[None]:
    """Errors of pandas and pyarrow as what they mean."""
    try:
        yield
    except UnicodeDecodeError as error:
        if encoding not in (None, "utf-8"):
            raise DataError(f"{path}: not {encoding} ({error}); set another data.encoding") from None
        other = "" if encoding is None else ", or set data.encoding: cp1252 for Windows in Western Europe"
        raise DataError(f"{path}: not UTF-8 ({error}); save it as UTF-8{other}") from None
    except MemoryError:
        gigabytes = path.stat().st_size / 1e9
        raise DataError(f"{path}: its {gigabytes:.1f} GB do not fit into memory; leave out columns or rows") from None
    except (OSError, EOFError, zlib.error, *NOT_JSON) as error:  # their parser errors are ValueErrors
        raise DataError(f"{path}: cannot be read as a table ({' '.join(str(error).split())})") from None


def _form_of(path: Path, encoding: str | None) -> _Form:
    """How a CSV is written, from its first lines."""
    with _open_text(path, encoding) as lines:
        encoding = lines.encoding
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


def _open_text(path: Path, encoding: str | None) -> TextIO:
    """A text in its encoding; UTF-16 is known by its first bytes, and Excel's mark of UTF-8 is no text."""
    packed = path.suffix.lower() == ".gz"
    with gzip.open(path) if packed else path.open("rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if wide:
        assume(f"{path}: its text is UTF-16, by its first two bytes")
    name = "utf-16" if wide else "utf-8" if encoding is None else codecs.lookup(encoding).name
    name = "utf-8-sig" if name == "utf-8" else name
    return gzip.open(path, "rt", encoding=name) if packed else path.open(encoding=name)


def metadata_files(folder: Path) -> list[Path]:
    """Tables of the parts of a folder, sorted: as Hugging Face's ``imagefolder`` has them, or else as Roboflow."""
    for pattern in ("*/metadata.*", "*/_classes.csv"):
        found = [file for file in folder.glob(pattern) if is_table(file) and file.parent.name.lower() in PARTS]
        if found:
            return sorted(found)
    raise DataError(f"{folder}: no train/metadata.csv or train/_classes.csv in it")


def _read_parts(folder: Path, columns: Collection[str] | None, encoding: str | None) -> pd.DataFrame:
    parts = []
    for file in metadata_files(folder):
        frame = read_table(file, columns, encoding)
        for name in {"file_name", "filename"} & set(frame.columns):
            frame[name] = f"{file.parent.name}/" + frame[name].astype(str)
        parts.append(frame.assign(split=file.parent.name))
    return pd.concat(parts, ignore_index=True)


def _is_list(path: Path, encoding: str | None) -> bool:
    """Whether a .txt lists images, by its first line."""
    if path.suffix.lower() != ".txt":
        return False
    with _open_text(path, encoding) as lines:
        return re.match(_IMAGE + r"(\s|[,;]|$)", next(filter(str.strip, lines), ""), re.IGNORECASE) is not None


def _read_list(path: Path, encoding: str | None) -> pd.DataFrame:
    """An image a line, and its label behind it; both may have blanks in them."""
    rows = []
    with _open_text(path, encoding) as lines:
        for number, line in enumerate(lines, 1):
            found = _LISTED.fullmatch(line.strip())
            if found is None and line.strip():
                raise DataError(
                    f"{path}: line {number} is {line.strip()[:60]!r}, expected an image, a blank and its label"
                )
            if found and re.fullmatch(r"[01](,[01])+", found[2]):
                raise DataError(
                    f"{path}: line {number} has a mark a category, {found[2][:20]!r}; write a CSV with a column a"
                    " category, and set data.label_columns"
                )
            rows += [found.groups()] if found else []
    assume(f"{path}: is a list of images, each with its label behind it")
    return pd.DataFrame(rows, columns=_LIST_COLUMNS)


def _read_lines(path: Path, columns: Collection[str] | None, encoding: str | None) -> pd.DataFrame:
    """A JSON object a line; values that are no text stay what they are."""
    with _open_text(path, encoding) as lines:
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
