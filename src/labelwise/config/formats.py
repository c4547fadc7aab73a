"""Which format a data source is in, by its name and by the files that are there."""

from __future__ import annotations

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
    return "chexpert" if _is_chexpert(path) else "folder"


def _is_chexpert(path: Path) -> bool:
    if not ((path / "valid.csv").is_file() and (path / "train.csv").is_file()):
        return False
    with (path / "train.csv").open(encoding="utf-8", errors="replace") as file:
        return "Frontal/Lateral" in file.readline()
