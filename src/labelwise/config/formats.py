"""Which format a data source is in, by its name and by the files that are there."""

from __future__ import annotations

import glob
import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from labelwise.errors import DataError

Format = Literal[
    "folder",
    "npz",
    "table",
    "builtin",
    "hf",
    "embeddings",
    "chexpert",
    "mimic",
    "nih",
    "coco",
    "open_images",
    "voc",
    "webdataset",
]

MOST_NAMES = 1_000_000
"""Files that a source with braces may stand for."""

BUILTIN = ("digits", "fashion_mnist", "cifar10", "cifar100", "imagenette")

BATCHES = "CheXpert-v1.0 batch *"
"""Folders that CheXpert is published in at its full size: one with the CSVs, the others with the patients of train."""

TABLE_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".jsonl", ".jsonl.gz", ".parquet")

_SUFFIXES: dict[str, Format] = {
    ".npz": "npz",
    ".json": "coco",
    ".tar": "webdataset",
    ".txt": "table",
}

# Files that a published data set cannot do without.
_PUBLISHED: dict[Format, tuple[str, ...]] = {
    "coco": ("annotations/instances_*.json", "train/_annotations.coco.json"),
    "voc": (
        "ImageSets/Main",
        "VOC20[0-9][0-9]/ImageSets/Main",
        "VOCdevkit/VOC20[0-9][0-9]/ImageSets/Main",
        "Annotations/*.xml",
    ),
    "open_images": tuple(
        f"{version}{place}"
        for version in ("", "2017_11/", "2018_04/")
        for place in (
            "*-annotations-human-imagelabels.csv",
            *(f"{part}/annotations-human.csv" for part in ("train", "validation", "test")),
            *(f"{part}/*-annotations-human-imagelabels.csv" for part in ("train", "validation", "test")),
        )
    ),
    "mimic": ("mimic-cxr-*-chexpert.csv*", "mimic-cxr-*-negbio.csv*"),
    "nih": ("Data_Entry_2017*.csv",),
}

# Columns that tell a published table, whatever its name is.
_COLUMNS: tuple[tuple[Format, frozenset[str]], ...] = (
    ("mimic", frozenset({"subject_id", "study_id", "Pleural Other"})),
    ("chexpert", frozenset({"Frontal/Lateral"})),
    ("chexpert", frozenset({"Enlarged Cardiomediastinum", "Pleural Other"})),
    ("nih", frozenset({"Image Index", "Finding Labels"})),
)


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name."""
    return path.name.lower().endswith(TABLE_ENDINGS)


def find_format(source: str) -> Format | None:
    """The format of a source.

    Parameters
    ----------
    source : the name of a built-in set, ``hf:NAME``, or the path of a file or folder

    Returns
    -------
    None where there is no such file or folder, or where its ending says nothing
    """
    path = Path(source)
    if source in BUILTIN:
        return "builtin"
    if source.startswith("hf:"):
        return "hf"
    if is_table(path) and not path.is_dir():
        return next((found for _, found in published_tables(path.parent, glob.escape(path.name))), "table")
    if not path.is_dir():
        return _SUFFIXES.get(path.suffix.lower())
    for published, patterns in _PUBLISHED.items():
        if any(any(path.glob(pattern)) for pattern in patterns):
            return published
    if found := next((found for _, found in published_tables(path, "*.csv")), None):
        return found
    if any(published_tables(path, f"{BATCHES}/*.csv")):
        return "chexpert"
    if _has_tables_of_parts(path):
        return "table"
    return "webdataset" if holds_tars(path) else "folder"


def _has_tables_of_parts(folder: Path) -> bool:
    """Whether the folder of the training part has a table of its images and their labels, not of other things."""
    named = (folder / "train" / f"metadata.{ending}" for ending in ("csv", "jsonl"))
    if any("file_name" in (line := _first_line(file)) and "label" in line for file in named if file.is_file()):
        return True
    return any((folder / "train" / name).is_file() for name in ("metadata.parquet", "_classes.csv"))


def holds_tars(folder: Path) -> bool:
    """Whether a folder, or each folder in it, holds tars and no folders; an archive beside images is none of the
    data."""
    inner = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if inner:
        return all(holds_tars(path) for path in inner)
    return any(folder.glob("*.tar"))


def expand_braces(source: str) -> list[str]:
    """``a-{00..02}.tar`` and ``a-{x,y}.tar`` spelled out, as shells do; DataError for more than ``MOST_NAMES``."""
    count = math.prod(int(last) - int(first) + 1 for first, last in re.findall(r"\{(\d+)\.\.(\d+)\}", source))
    if count > MOST_NAMES:
        raise DataError(f"data.source {source!r}: stands for {count:,} files, expected at most {MOST_NAMES:,}")
    found = re.search(r"\{([^{}]*)\}", source)
    if found is None:
        return [source]
    inside = found[1]
    if ends := re.fullmatch(r"(\d+)\.\.(\d+)", inside):
        choices = [f"{number:0{len(ends[1])}d}" for number in range(int(ends[1]), int(ends[2]) + 1)]
    else:
        choices = inside.split(",")
    head, tail = source[: found.start()], source[found.end() :]
    return [rest for choice in choices for rest in expand_braces(f"{head}{choice}{tail}")]


def published_tables(folder: Path, pattern: str) -> Iterator[tuple[Path, Format]]:
    """CSV files in a folder, sorted, whose columns are those of CheXpert or NIH, each with its format."""
    for file in sorted(folder.glob(pattern)):
        columns = _columns(file)
        yield from [(file, name) for name, needed in _COLUMNS if needed <= columns][:1]


def _columns(file: Path) -> set[str]:
    """The names of a CSV's columns; none where it cannot be read."""
    return {name.strip().strip('"') for name in _first_line(file).split(",")}


def _first_line(file: Path) -> str:
    """Blank where it cannot be read."""
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as lines:
            return lines.readline(10_000).decode("utf-8-sig", errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""
