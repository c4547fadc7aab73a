"""Which format a data source is in, by its name and by the files that are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Format = Literal[
    "folder", "npz", "table", "builtin", "hf", "embeddings", "chexpert", "nih", "coco", "open_images", "voc"
]

BUILTIN = ("digits", "fashion_mnist", "cifar10", "cifar100", "imagenette")

_SUFFIXES: dict[str, Format] = {".npz": "npz", ".csv": "table", ".parquet": "table", ".json": "coco"}

# Files that a published data set cannot do without.
_PUBLISHED: dict[Format, tuple[str, ...]] = {
    "coco": ("annotations/instances_*.json",),
    "voc": (
        "ImageSets/Main",
        "VOC20[0-9][0-9]/ImageSets/Main",
        "VOCdevkit/VOC20[0-9][0-9]/ImageSets/Main",
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
    "nih": ("Data_Entry_2017*.csv",),
}

# Columns that tell a published table, whatever its name is.
_COLUMNS: tuple[tuple[Format, frozenset[str]], ...] = (
    ("chexpert", frozenset({"Frontal/Lateral"})),
    ("chexpert", frozenset({"Enlarged Cardiomediastinum", "Pleural Other"})),
    ("nih", frozenset({"Image Index", "Finding Labels"})),
)


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
    if not path.is_dir():
        return _SUFFIXES.get(path.suffix.lower())
    for name, patterns in _PUBLISHED.items():
        if any(any(path.glob(pattern)) for pattern in patterns):
            return name
    return next((found for _, found in published_tables(path, "*.csv")), "folder")


def published_tables(folder: Path, pattern: str) -> Iterator[tuple[Path, Format]]:
    """CSV files in a folder, sorted, whose columns are those of CheXpert or NIH, each with its format."""
    for file in sorted(folder.glob(pattern)):
        if file.is_file():
            with file.open(encoding="utf-8-sig", errors="replace") as lines:
                columns = {name.strip().strip('"') for name in lines.readline(10_000).split(",")}
            yield from ((file, name) for name, needed in _COLUMNS if needed <= columns)
