"""A folder of class folders: ``ROOT/train/CLASS/*.jpg`` and ``ROOT/val/...``, or ``ROOT/CLASS/*`` without a split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from labelwise.config import FolderConfig
from labelwise.config.formats import BATCHES, is_table, published_tables
from labelwise.data.dataset import ImageFiles, Samples
from labelwise.data.decode import SUFFIXES
from labelwise.data.files import PARTS, same_name
from labelwise.data.memory import as_asked
from labelwise.data.notes import assume, tell
from labelwise.errors import DataError
from labelwise.runs import RUN

_OTHERS = (
    (BATCHES, "CheXpert", "its train.csv"),
    ("patient[0-9]*/study[0-9]*", "CheXpert", "its train.csv"),
    ("*/patient[0-9]*/study[0-9]*", "CheXpert", "its train.csv"),
    ("files/p1[0-9]/p1[0-9]*/s5[0-9]*", "MIMIC-CXR", "its mimic-cxr-2.0.0-chexpert.csv"),
    ("S2[AB]_MSIL2A_*/*_B0[1-9].tif", "BigEarthNet", "a table of images in colour"),
    ("train/labels/*.txt", "boxes for YOLO", "a table of the images"),
    ("labels/train/*.txt", "boxes for YOLO", "a table of the images"),
)  # folders that are no classes: what is in them, what it looks like, and the table that is needed

_IMAGES = re.compile(
    r"((train|test|val|valid)[-_ ]?)?(images?|imgs?|jpe?gs?|pngs?|photos|pictures)([-_ ]?(train|test|val|valid))?"
)  # folders beside a table

_RUNS = "runs of labelwise"

OF_SERVERS = ("@eaDir", "__MACOSX", "$RECYCLE.BIN", "#recycle")
"""Folders that file servers and archives add, with thumbnails that are no samples."""


def read(config: FolderConfig) -> Samples:
    """Image files by class folder; ids are paths relative to the root. No image is decoded.

    Hidden files and files that are no images are passed over, which a line on stderr says; images may lie in folders
    inside a class folder.

    Raises
    ------
    DataError
        If the folder is missing or has no class folders, if a class folder has no image, or if a class of another
        part has no folder in the training part; for CheXpert or NIH one folder too high.
    """
    root = Path(config.source)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if config.format == "auto":
        _refuse_published(root)
    parts = _parts(root)
    training = [folder for folder, part in parts if part in ("train", "fit", "")] or [folder for folder, _ in parts]
    found = [(part, folder, cls, *look_under(cls)) for folder, part in parts for cls in _folders(folder)]
    learnt = {same_name(cls.name) for _, folder, cls, _, _ in found if folder in training}
    if not learnt:
        raise DataError(
            f"{training[0]}: no class folders; expected {root.name}/train/CLASS/image or CLASS/image{_of_tables(root)}"
        )
    if config.format == "auto":
        _refuse_images_beside_table(root, learnt)
    classes = sorted(learnt | {same_name(cls.name) for _, _, cls, images, _ in found if images})
    index = {name: i for i, name in enumerate(classes)}
    paths: list[Path] = []
    label: list[int] = []
    part_of: list[str] = []
    others = Counter(
        f"folder {path.name}/" for path in _folders(root) if parts[0][0] != root and path not in dict(parts)
    )
    for folder in {root, *(folder for folder, _ in parts)}:
        others[_RUNS] += sum(map(_is_run, folder.iterdir()))
    for part, folder, cls, images, more in found:
        others += more
        if not images and folder in training:
            raise DataError(
                f"{cls}: empty class, no image in it (read are {' '.join(sorted(SUFFIXES))}){_of_tables(root)}"
            )
        if not images:
            assume(f"{cls}: no image in it")
        elif same_name(cls.name) not in learnt:
            assume(f"{cls}: no folder of this class is in {training[0]}, so no network can learn it")
        paths += images
        label += [index[same_name(cls.name)]] * len(images) if images else []
        part_of += [part] * len(images)
    for folder, _ in parts:
        if bare := sum(path.suffix.lower() in SUFFIXES for path in folder.iterdir() if path.is_file()):
            tell(f"{folder}: left out: {bare:,} images in no class folder{_of_tables(root)}")
    if config.format == "auto" and (table := next((path for path in sorted(root.iterdir()) if is_table(path)), None)):
        tell(f"{table}: is not read; if it has the labels, give it as data.source")
    if len(classes) == 1 and (inner := _folders(found[0][2])):
        tell(f"{found[0][2]}: is taken for the only class; if {inner[0].name}, ... are classes, give it as data.source")
    if alike := _alike(training[0], classes):
        some = ", ".join(classes[:3])
        tell(f"{training[0]}: {some} have the same folders, {alike}; if these are classes, give one of the first")
    tell_left_out(root, others)
    start = f"{str(root).rstrip('/')}/"
    ids = [str(path).removeprefix(start) for path in paths]  # relative_to() takes half of all time
    refuse_other_text(ids, root)
    return Samples(
        name=root.resolve().name,
        classes=tuple(classes),
        ids=np.array(ids),
        label=np.array(label, dtype=np.int64),
        part=np.array(part_of),
        source=as_asked(ImageFiles(tuple(paths), 3), config),
        left_out=dict(others),
    )


def refuse_other_text(names: Iterable[str], folder: Path) -> None:
    """Raise DataError for the first name of a file that is not UTF-8; Python writes its bytes as surrogates."""
    for name in names:
        if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"{folder}: the name {os.fsencode(name)!r} is not UTF-8; rename it")


def _refuse_published(root: Path) -> None:
    """Folders of patients and the like would be taken for classes."""
    for pattern, name, table in _OTHERS:
        if found := next(root.glob(pattern), None):
            raise DataError(
                f"{root}: {found.relative_to(root)} looks like {name}, so its folders are no classes; give {table} as"
                f" data.source and data.root={root} (or data.format=folder)"
            )
    for file, published in published_tables(root, "*/*.csv"):
        raise DataError(
            f"{file} is a table of {published}, so the folders in {root} are no classes; give {file.parent} as"
            " data.source (or data.format=folder)"
        )


def _refuse_images_beside_table(root: Path, names: set[str]) -> None:
    """Folders of images that a table labels would be taken for classes."""
    table = _of_tables(root)
    if table and all(_IMAGES.fullmatch(name.lower()) for name in names):
        raise DataError(f"{root}: {', '.join(sorted(names))} look like no classes{table} (or data.format=folder)")


def _of_tables(root: Path) -> str:
    """A hint at the tables in a folder that may have the labels; empty where there is none."""
    inner = (*root.glob("*/metadata.*"), *root.glob("*/_*.csv"), *root.glob("data/*.parquet"))
    found = [path for path in [*sorted(root.iterdir()), *sorted(inner)] if is_table(path)]
    return f"; if {found[0].relative_to(root)} has the labels, give it as data.source" if found else ""


def _alike(root: Path, classes: Sequence[str]) -> str:
    """Two folders that are in every class folder, such as classes in three versions of all images; empty if none."""
    if len(classes) < 2 or not (root / classes[0]).is_dir():
        return ""
    with os.scandir(root / classes[0]) as inner:
        names = sorted(entry.name for entry in inner if entry.is_dir() and not _is_hidden(entry.name))
    common = [name for name in names if all((root / cls / name).is_dir() for cls in classes[1:])]
    return ", ".join(common[:2]) if len(common) > 1 else ""


def _parts(root: Path) -> list[tuple[Path, str]]:
    """Folders of the parts, each with what ``Samples.part`` calls it; the root itself where there are none."""
    folders = _folders(root)
    parts = [(folder, PARTS[folder.name.lower()]) for folder in folders if folder.name.lower() in PARTS]
    # "train" and "test" may be classes, too (of vehicles, of procedures); a part is known by its class folders.
    if any(part in ("train", "fit") and _folders(folder) for folder, part in parts):
        return parts
    if parts and len(parts) == len(folders):
        if all(_folders(folder) for folder in folders):
            return parts  # a test set of one's own
        names = ", ".join(folder.name for folder, _ in parts)
        raise DataError(f"{root}: has {names}, but no train/CLASS/ with images{_of_tables(root)}")
    return [(root, "")]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not _is_hidden(path.name) and not _is_run(path))


def _is_run(folder: Path) -> bool:
    """Whether labelwise has written a run there, whose pictures are no samples."""
    try:
        return '"identity"' in (folder / RUN).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in OF_SERVERS


def look_under(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Images in a folder and the folders inside it, sorted; and how many files are something else, by kind."""
    images: list[Path] = []
    others: Counter[str] = Counter()
    for base, folders, files in os.walk(folder):
        if RUN in files and base != str(folder) and _is_run(Path(base)):
            others[_RUNS] += 1
            folders.clear()
            continue
        others["hidden"] += sum(map(_is_hidden, [*folders, *files]))
        others["linked folders"] += sum(Path(base, name).is_symlink() for name in folders)
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for path in (Path(base, name) for name in files if not _is_hidden(name)):
            if path.suffix.lower() not in SUFFIXES:
                others[path.suffix.lower() or "without an ending"] += 1
            elif path.is_file():
                images.append(path)
            else:
                others["no regular files" if path.exists() else "links to nothing"] += 1
    return sorted(images), +others


def tell_left_out(root: Path, others: Counter[str]) -> None:
    """Say on stderr how many files in a folder are not read."""
    if others := +others:
        kinds = ", ".join(kind if kind.endswith("/") else f"{kind} {count:,}" for kind, count in others.most_common())
        tell(f"{root}: left out: {others.total():,} ({kinds})")
