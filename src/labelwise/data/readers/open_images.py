"""Open Images V3 to V7: image-level labels that people verified, read as partly labelled multi-label data.

    V3    [2017_11/]train/annotations-human.csv          validation/..., test/...
    V4    train-annotations-human-imagelabels.csv        validation-..., test-...; or in train/, validation/, test/
    V6    oidv6-train-annotations-human-imagelabels.csv  validation-..., test-...
    V7    oidv7-train-annotations-human-imagelabels.csv  oidv7-val-..., oidv7-test-...
          classes-trainable.txt                          a class a line: /m/0100nhbf; V6, V7: with oidv6-, oidv7-
          class-descriptions.csv                         /m/0100nhbf,Sprenger's tulip; the same; V4 also ...-boxable.csv
          train/000002b66c9c498e.jpg                     validation/, test/

Columns of the labels are ImageID,Source,LabelName,Confidence. Format: github.com/openimages/dataset (V3) and
storage.googleapis.com/openimages/web (later).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.config import OpenImagesConfig
from labelwise.data.dataset import Samples
from labelwise.data.files import refuse_repeated
from labelwise.data.readers.located import image_files
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, UNCERTAIN, UNKNOWN, LabelTable
from labelwise.textfile import read_text

_PARTS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_VERSIONS = ("", "oidv6-", "oidv7-")
_FOLDERS = ("", "2017_11", "2018_04")
_COLUMNS = ["ImageID", "Source", "LabelName", "Confidence"]
_HUMAN = ("verification", "crowdsource-verification", "human")
_GROUPS = 5
_CHUNK = 1_000_000  # rows of a CSV at a time
_LISTED = 100  # missing images that are named one by one


@dataclass(frozen=True)
class _Verified:
    """Verified labels of one part: label i says ``vote[i]`` of class ``category[i]`` on image ``ids[image[i]]``.

    ``vote`` is 1 (positive), -1 (negative) or 0 (people contradict each other); a pair of image and class occurs once.
    """

    ids: NDArray[np.str_]
    image: NDArray[np.int64]
    category: NDArray[np.int64]
    vote: NDArray[np.int8]

    def of_images(self, keep: NDArray[np.bool_]) -> _Verified:
        """The images of a mask (N,), and their labels."""
        labels = keep[self.image]
        number = np.cumsum(keep) - 1
        return _Verified(self.ids[keep], number[self.image[labels]], self.category[labels], self.vote[labels])

    def of_categories(self, column: NDArray[np.int64], count: int) -> _Verified:
        """The classes that ``column`` (all classes,) numbers from 0 to ``count`` - 1, not -1, and images with one."""
        labels = column[self.category] >= 0
        chosen = _Verified(self.ids, self.image[labels], column[self.category[labels]], self.vote[labels])
        return chosen.of_images(np.bincount(chosen.image, minlength=len(self.ids)) > 0)


def read(config: OpenImagesConfig) -> Samples:
    """Images with the verified labels of the trainable classes; everything that nobody verified is unknown.

    - ``data.source`` is the folder above, images lie under ``data.root`` or else the same folder, in ``train``,
      ``validation`` and ``test``, which are the parts ``train``, ``val`` and ``test``.
    - Confidence 1 is positive, 0 negative. Machine-generated labels (Source ``machine``) are left out. Where people
      disagree on one class of one image, the majority holds; half against half is *uncertain*.
    - Categories are called by their description, or by their identifier (``/m/...``) where they have none. Of several
      with one description, each is called ``description (identifier)``. ``data.categories`` is read by these names.
    - An image without a verified label of one of these categories is left out; how many there were is told in
      ``unreadable``. With ``unreadable: skip`` an image that is not there is left out and listed, too.
    - ``category_groups`` are ``group-1`` to ``group-5``: all trainable classes by ascending number of known labels of
      the training part (positive and negative, whether or not the image is there; ties in the order of the list), cut
      into five blocks of equal size. V3 has 5,000 classes, so its blocks are of 1,000, as in the literature, where what
      was counted is left open.
    - ids are Open Images' own. Rows are in the order in which the files first name an image. There are no groups.

    Labels take 5 bytes for each image and category: ask for fewer ``categories`` where that is more than there is.

    Raises
    ------
    DataError
        Naming the file and row: a file or column that is missing, damaged or empty, a blank, a source or a confidence
        that is none, a class twice, an unknown name in ``data.categories``, an image that is not there (unless
        ``unreadable: skip``), an image in two parts, no image left, more labels than memory.
    """
    source = Path(config.source)
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    files = annotation_files(source)
    if "train" not in files:
        raise DataError(
            f"{source}: no train/annotations-human.csv and no train-annotations-human-imagelabels.csv (or with oidv6-,"
            " oidv7-) in it"
        )
    classes = _trainable(source)
    names = _names(source, classes)
    column = _columns(names, config.categories, source)
    categories = tuple(name for name, place in zip(names, column.tolist(), strict=True) if place >= 0)
    folder = source if config.root is None else Path(config.root)
    parts: dict[str, _Verified] = {}
    notes: list[str] = []
    groups: dict[str, tuple[str, ...]] = {}
    for part, path in files.items():
        verified = _read_labels(path, classes)
        if part == "train":
            groups = _groups(verified, names, set(categories))
        chosen = verified.of_categories(column, len(categories))
        if dropped := len(verified.ids) - len(chosen.ids):
            notes.append(f"{part}: images left out, without a verified label of these categories: {dropped}")
        if config.unreadable == "skip":
            chosen, missing = _drop_missing(chosen, folder / part)
            notes += missing
        parts[part] = chosen
    ids = np.concatenate([verified.ids for verified in parts.values()])
    if len(ids) == 0:
        raise DataError(f"{source}: found no image with a verified label of {len(categories)} categories")
    refuse_repeated(ids.tolist(), f"{source}: in two parts: image")
    paths = tuple(folder / part / f"{image}.jpg" for part, found in parts.items() for image in found.ids.tolist())
    spelled = ["val" if part == "validation" else part for part in parts]
    return Samples(
        name=source.resolve().name,
        classes=categories,
        ids=ids,
        label=np.full(len(ids), -1, dtype=np.int64),
        part=np.repeat(spelled, [len(found.ids) for found in parts.values()]),
        source=image_files(source, paths, config),
        unreadable=tuple(notes),
        table=_table(list(parts.values()), categories, groups, source),
    )


def annotation_files(source: Path) -> dict[str, Path]:
    """The human-verified labels of every part that is there, ``train``, ``validation`` and ``test``."""
    files = {}
    for part, spellings in _PARTS.items():
        later = [f"{version}{name}-annotations-human-imagelabels.csv" for version in _VERSIONS for name in spellings]
        path = _only(source, [f"{part}/annotations-human.csv", *later, *(f"{part}/{name}" for name in later)])
        if path is not None:
            files[part] = path
    return files


def _only(source: Path, names: list[str]) -> Path | None:
    """The one file of some names that is in the folder or its folder of a version."""
    found = [path for folder in _FOLDERS for name in names if (path := source / folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{source}: has {found[0]} and {found[1]}; keep the files of one version in the folder")
    return found[0] if found else None


def _trainable(source: Path) -> list[str]:
    path = _only(source, [f"{version}classes-trainable.txt" for version in _VERSIONS])
    if path is None:
        raise DataError(f"{source}: no classes-trainable.txt (or with oidv6-, oidv7-) in it; it lists the categories")
    classes = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not classes:
        raise DataError(f"{path}: empty, no class in it")
    refuse_repeated(classes, f"{path}: class")
    return classes


def _names(source: Path, classes: list[str]) -> tuple[str, ...]:
    """What the classes are called, each by a name of its own."""
    kinds = ("class-descriptions.csv", "class-descriptions-boxable.csv")
    found = (_only(source, [f"{version}{kind}" for version in _VERSIONS]) for kind in kinds)
    path = next((path for path in found if path is not None), None)
    descriptions: dict[str, str] = {}
    if path is not None:
        for number, row in enumerate(csv.reader(read_text(path).splitlines()), 1):
            if len(row) != 2:
                raise DataError(f"{path}: line {number}: expected a class and its description, found {len(row)} values")
            descriptions[row[0]] = row[1].strip()
    names = [descriptions.get(name) or name for name in classes]
    times = Counter(names)
    return tuple(
        name if times[name] == 1 else f"{name} ({identifier})" for name, identifier in zip(names, classes, strict=True)
    )


def _columns(names: tuple[str, ...], categories: tuple[str, ...], source: Path) -> NDArray[np.int64]:
    """The column of every trainable class in the table, -1 where ``data.categories`` leaves it out."""
    for name in categories:
        if name not in names:
            raise DataError(f"data.categories: {name!r} is not a trainable class of {source}")
    chosen = set(categories or names)
    keep = np.array([name in chosen for name in names])
    return np.where(keep, np.cumsum(keep) - 1, -1)


def _read_labels(path: Path, classes: list[str]) -> _Verified:
    """Every verified label of a file; images without one of a trainable class are there, without labels."""
    number: dict[str, int] = {}
    images, categories, votes = [], [], []
    known = pd.Index(classes)
    for chunk in _chunks(path):
        vote = _votes(path, chunk)
        category = known.get_indexer(chunk["LabelName"].cat.categories)[chunk["LabelName"].cat.codes]
        codes, found = pd.factorize(chunk["ImageID"])
        image = np.array([number.setdefault(name, len(number)) for name in found.tolist()], dtype=np.int64)[codes]
        kept = (category >= 0) & (vote != 0)
        images.append(image[kept])
        categories.append(category[kept])
        votes.append(vote[kept])
    if not number:
        raise DataError(f"{path}: no rows")
    pair, label = np.unique(np.concatenate(images) * len(classes) + np.concatenate(categories), return_inverse=True)
    vote = np.sign(np.bincount(label, weights=np.concatenate(votes), minlength=len(pair))).astype(np.int8)
    return _Verified(np.array(list(number)), pair // len(classes), pair % len(classes), vote)


def _chunks(path: Path) -> Iterator[pd.DataFrame]:
    try:
        header = pd.read_csv(path, nrows=0).columns.tolist()
        missing = [name for name in _COLUMNS if name not in header]
        if missing:
            raise DataError(f"{path}: no column {missing[0]!r}; it has {', '.join(map(str, header))}")
        # Few values are repeated millions of times, all but the images' names.
        kinds = dict.fromkeys(_COLUMNS, "category") | {"ImageID": "str"}
        yield from pd.read_csv(
            path, usecols=_COLUMNS, dtype=kinds, index_col=False, keep_default_na=False, chunksize=_CHUNK
        )
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path}: cannot be read as .csv ({' '.join(str(error).split())})") from None


def _votes(path: Path, chunk: pd.DataFrame) -> NDArray[np.int8]:
    """1 for a positive, -1 for a negative label, 0 for a machine's (N,)."""
    for name in _COLUMNS:
        _refuse(path, chunk, chunk[name].isna() | (chunk[name] == ""), name, "is blank")
    machine = chunk["Source"] == "machine"
    human = chunk["Source"].isin(_HUMAN)
    _refuse(path, chunk, ~machine & ~human, "Source", f"is none of {', '.join(_HUMAN)} and machine")
    confidence = pd.to_numeric(chunk["Confidence"].cat.categories, errors="coerce")
    value = np.asarray(confidence, dtype=np.float64)[chunk["Confidence"].cat.codes]
    _refuse(path, chunk, human & ~np.isin(value, (0, 1)), "Confidence", "of a verified label is neither 1 nor 0")
    return np.where(machine, 0, np.where(value == 1, 1, -1)).astype(np.int8)


def _refuse(path: Path, chunk: pd.DataFrame, bad: pd.Series, name: str, problem: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        value = chunk[name].iloc[rows[0]]
        shown = "" if value != value or value == "" else f" {value!s}"
        raise DataError(f"{path}: row {chunk.index[rows[0]]}: {name}{shown} {problem}")


def _groups(train: _Verified, names: tuple[str, ...], chosen: set[str]) -> dict[str, tuple[str, ...]]:
    counts = np.bincount(train.category[train.vote != 0], minlength=len(names))
    blocks = np.array_split(np.argsort(counts, kind="stable"), _GROUPS)
    groups = {f"group-{i}": tuple(names[c] for c in block if names[c] in chosen) for i, block in enumerate(blocks, 1)}
    return {group: members for group, members in groups.items() if members}


def _drop_missing(verified: _Verified, folder: Path) -> tuple[_Verified, list[str]]:
    """The images that a folder has, and which ones it has not."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    keep = np.array([f"{image}.jpg" in there for image in verified.ids.tolist()], dtype=bool)
    missing = verified.ids[~keep].tolist()
    notes = [f"{image}: {folder / image}.jpg: no such image" for image in missing[:_LISTED]]
    if len(missing) > _LISTED:
        notes.append(f"{folder}: more images that are not there: {len(missing) - _LISTED}")
    return verified.of_images(keep), notes


def _table(
    parts: list[_Verified], categories: tuple[str, ...], groups: dict[str, tuple[str, ...]], source: Path
) -> LabelTable:
    shape = (sum(len(verified.ids) for verified in parts), len(categories))
    try:
        values = np.full(shape, np.nan, dtype=np.float32)
        kind = np.full(shape, UNKNOWN, dtype=np.uint8)
        first = 0
        for verified in parts:
            place = (first + verified.image, verified.category)
            values[place] = np.where(verified.vote == 0, np.nan, verified.vote > 0)
            kind[place] = np.where(verified.vote == 0, UNCERTAIN, GIVEN)
            first += len(verified.ids)
        return LabelTable(values, kind, categories, category_groups=groups)
    except MemoryError:
        raise DataError(
            f"{source}: labels of {shape[0]} images in {shape[1]} categories need {shape[0] * shape[1] * 5e-9:.1f} GB,"
            " more than there is; name fewer categories in data.categories, or leave out images that are not there"
            " (data.unreadable: skip)"
        ) from None
