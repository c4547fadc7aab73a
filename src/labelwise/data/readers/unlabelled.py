"""Images or embeddings that have no labels: what ``labelwise predict`` looks at, and what refineries label besides."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from labelwise.config import DataConfig, EmbeddingsConfig, FolderConfig, NpzConfig, TableConfig, WebDatasetConfig
from labelwise.config.formats import find_format, is_table
from labelwise.data.dataset import (
    UNLABELLED,
    Dataset,
    Features,
    ImageFiles,
    ImageSource,
    JoinedImages,
    PixelArray,
)
from labelwise.data.decode import Reading
from labelwise.data.files import read_arrays, refuse_repeated
from labelwise.data.memory import EncodedImages, as_asked, image_sizes, to_memory
from labelwise.data.readers import npz, table, webdataset
from labelwise.data.readers.folder import look_under, refuse_other_text, tell_left_out
from labelwise.data.readers.located import locate
from labelwise.data.tables import read_table
from labelwise.errors import DataError
from labelwise.labels.table import UNKNOWN, LabelTable

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Unlabelled:
    """Samples without labels: ``ids`` (N,), unique; ``groups`` (N,) where the source has them. ``named`` says whether
    the ids are the source's own; otherwise they are places in it."""

    ids: NDArray[np.str_]
    source: ImageSource | Features
    groups: NDArray[np.str_] | None = None
    named: bool = False
    unreadable: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64]) -> Unlabelled:
        """The samples of ``rows``, in that order."""
        groups = None if self.groups is None else self.groups[rows]
        return dataclasses.replace(self, ids=self.ids[rows], source=self.source.take(rows), groups=groups)


def read_unlabelled(
    source: Path, classes: tuple[str, ...], channels: int, reading: Reading, *, skip_unreadable: bool
) -> Dataset:
    """Every image under a folder, one image file, or an .npz of images or embeddings; all of it in the test split.

    Parameters
    ----------
    classes : of the network that will look at it
    channels : that the network wants, 1 or 3
    reading : how image files are read
    skip_unreadable : leave unreadable images out and list them, instead of failing on the first

    Raises
    ------
    DataError
        If the source is missing, empty or damaged.
    """
    config = NpzConfig(source=str(source), channels=3 if channels == 3 else 1)
    if source.suffix.lower() == ".npz":
        pixels = npz.read_source(source, read_arrays(source), config)
        found = Unlabelled(np.arange(len(pixels)).astype(str), pixels)
    elif find_format(str(source)) == "webdataset":
        found = _read_tars(source, channels)
    else:
        found = _read_images(source, channels)
    found = _read_by(reading, found)
    found = _readable(found, workers=2) if skip_unreadable else found
    n = len(found.ids)
    return Dataset(
        name=source.name,
        classes=classes,
        ids=found.ids,
        groups=found.ids,
        label=np.full(n, -1, dtype=np.int64),
        split=np.full(n, "test"),
        source=found.source,
        unreadable=found.unreadable,
        value_range=reading.value_range,
    )


def read_others(config: DataConfig, dataset: Dataset) -> Unlabelled:
    """What ``data.unlabelled`` names, but for what ``dataset`` has already: a folder of images at any depth, a table of
    paths, or an .npz of images or embeddings as :mod:`labelwise.data.readers.npz` reads them.

    An image is in the data already if its path or its id is. Of a group that is in ``select`` or ``test``, no image is
    taken. A line on stderr says how many images were left out.

    Raises
    ------
    DataError
        If the source is missing, empty or damaged, holds nothing new, or has images where the data have embeddings.
    """
    path = Path(str(config.unlabelled))
    where = f"data.unlabelled {str(path)!r}"
    if not path.exists():
        raise DataError(f"{where}: no such folder or file")
    found = _read(path, config, dataset)
    if isinstance(found.source, Features) != dataset.is_features:
        theirs, ours = ("images", "embeddings") if dataset.is_features else ("embeddings", "images")
        raise DataError(f"{where}: holds {theirs}, {dataset.name} holds {ours}; give more of the same")
    found = _read_by(Reading(config.max_pixels, dataset.value_range), found)
    found = _readable(found, config.decoders) if config.unreadable == "skip" else found
    known = _are_in(found, dataset)
    held_out = dataset.groups[np.isin(dataset.split, ["select", "test"])]
    parted = np.zeros(len(known), dtype=bool) if found.groups is None else ~known & np.isin(found.groups, held_out)
    if (known | parted).any():
        print(
            f"warning: data.unlabelled: of {len(known):,} samples {known.sum():,} are in the data already and"
            f" {parted.sum():,} more are of groups in select or test; these are left out",
            file=sys.stderr,
        )
    if (known | parted).all():
        raise DataError(f"{where}: every sample in it is in the data already, or of a group in select or test")
    return found.take(np.flatnonzero(~(known | parted)))


def add_unlabelled(dataset: Dataset, others: Unlabelled, config: DataConfig) -> Dataset:
    """``dataset`` with ``others`` behind its samples, in the split ``unlabelled``.

    Raises
    ------
    DataError
        If embeddings have another length, or images another size than those that are held in memory.
    """
    n = len(others.ids)
    ids = np.array([f"{UNLABELLED}/{name}" for name in others.ids.tolist()])
    votes, true_label, reviewed = dataset.votes, dataset.true_label, dataset.reviewed
    uncorrected, unknown = dataset.uncorrected, -1 if dataset.table is None else np.nan
    return dataclasses.replace(
        dataset,
        ids=np.concatenate([dataset.ids, ids]),
        groups=np.concatenate([dataset.groups, ids if others.groups is None else others.groups]),
        label=_padded(dataset.label, n, -1),
        split=np.concatenate([dataset.split, np.full(n, UNLABELLED)]),
        source=_joined(dataset.source, others.source, config),
        true_label=None if true_label is None else _padded(true_label, n, -1),
        unreadable=(*dataset.unreadable, *others.unreadable),
        table=_with_unknown(dataset.table, n),
        true_table=_with_unknown(dataset.true_table, n),
        votes=None if votes is None else _padded(votes, n, np.nan),
        reviewed=None if reviewed is None else _padded(reviewed, n, False),
        uncorrected=None if uncorrected is None else _padded(uncorrected, n, unknown),
    )


def _read(path: Path, config: DataConfig, dataset: Dataset) -> Unlabelled:
    channels = 3 if isinstance(dataset.source, Features) or dataset.source.channels == 3 else 1
    if is_table(path):
        options = {"source": str(path), "channels": channels}
        own = config if isinstance(config, TableConfig) else TableConfig(unreadable=config.unreadable)
        own = own.model_copy(update=options)
        frame = read_table(path, encoding=own.encoding)
        ids, groups = table.read_ids(path, frame, own)
        once = table.rows_once(path, frame, ids, own.image_column)
        files = locate(path, table.root_of(path, own), ids[once].tolist(), own)
        return Unlabelled(ids[once], files, None if groups is None else groups[once], named=True)
    if find_format(str(path)) == "webdataset":
        return _read_tars(path, channels)
    if path.suffix.lower() != ".npz":
        return _read_images(path, channels)
    arrays, kind = read_arrays(path), EmbeddingsConfig if dataset.is_features else NpzConfig
    source = npz.read_source(path, arrays, kind(source=str(path), channels=channels))
    names, groups = npz.read_names(path, arrays, config, len(source))
    if names is None:
        return Unlabelled(np.arange(len(source)).astype(str), source, groups)
    refuse_repeated(names.tolist(), f"{path}: id")
    return Unlabelled(names, source, groups, named=True)


def _read_tars(path: Path, channels: int) -> Unlabelled:
    config = WebDatasetConfig(source=str(path), label_member="none", channels=3 if channels == 3 else 1)
    samples = webdataset.read(config)
    assert not isinstance(samples.source, Features)
    return Unlabelled(samples.ids, samples.source, named=True)


def _read_images(path: Path, channels: int) -> Unlabelled:
    """One image file, or every image under a folder; ids are the paths from there."""
    if not path.exists():
        raise DataError(f"{path}: no such folder or image")
    paths = [path]
    if path.is_dir():
        paths, others = look_under(path)
        tell_left_out(path, others)
        refuse_other_text(map(str, paths), path)
    if not paths:
        raise DataError(f"{path}: no images in it")
    root = path if path.is_dir() else path.parent
    config = FolderConfig(source=str(path), channels=3 if channels == 3 else 1)
    ids = np.array([p.relative_to(root).as_posix() for p in paths])
    return Unlabelled(ids, as_asked(ImageFiles(tuple(paths), 3), config))


def _read_by(reading: Reading, found: Unlabelled) -> Unlabelled:
    source = found.source
    if isinstance(source, EncodedImages):
        source = dataclasses.replace(source, reading=reading)
    return dataclasses.replace(found, source=source)


def _readable(found: Unlabelled, workers: int) -> Unlabelled:
    """What can be decoded; messages about the rest."""
    _, broken = image_sizes(found.source, workers)
    messages = tuple(f"{found.ids[row]}: {message}" for row, message in broken)
    kept = np.delete(np.arange(len(found.ids)), [row for row, _ in broken])
    return dataclasses.replace(found.take(kept), unreadable=messages)


def _are_in(found: Unlabelled, dataset: Dataset) -> NDArray[np.bool_]:
    """Which of them (N,) the data have: by path, or else by id."""
    if isinstance(found.source, ImageFiles) and isinstance(dataset.source, ImageFiles):
        real = cache(Path.resolve)  # folders are few
        ours = {real(path.parent) / path.name for path in dataset.source.paths}
        return np.array([real(path.parent) / path.name in ours for path in found.source.paths], dtype=bool)
    return np.isin(found.ids, dataset.ids) if found.named else np.zeros(len(found.ids), dtype=bool)


def _joined(ours: ImageSource | Features, theirs: ImageSource | Features, config: DataConfig) -> ImageSource | Features:
    where = f"data.unlabelled {config.unlabelled!r}"
    if isinstance(ours, Features) or isinstance(theirs, Features):
        assert isinstance(ours, Features) and isinstance(theirs, Features), "read_others has compared them"
        if ours.values.shape[1] != theirs.values.shape[1]:
            theirs_, ours_ = theirs.values.shape[1], ours.values.shape[1]
            raise DataError(f"{where}: embeddings of {theirs_} numbers, those of the data have {ours_}")
        return Features(np.concatenate([ours.values, theirs.values]))
    if isinstance(ours, PixelArray) and config.memory != "no":
        theirs = to_memory(theirs, config.memory, config.memory_limit_gb - ours.pixels.nbytes / 1e9, config.decoders)
        if isinstance(theirs, PixelArray):
            sizes = ["x".join(map(str, one.pixels.shape[2:0:-1])) for one in (theirs, ours)]
            if sizes[0] != sizes[1]:
                raise DataError(
                    f"{where}: images of {sizes[0]} px, those of the data have {sizes[1]}; resize them, or set"
                    " data.memory: no and views.size"
                )
            return PixelArray(np.concatenate([ours.pixels, theirs.pixels]))
    assert not isinstance(theirs, Features)
    return JoinedImages((ours, theirs), np.arange(len(ours) + len(theirs)))


def _padded(values: NDArray[T], n: int, fill: float) -> NDArray[T]:
    """``values`` (N, ...) with n entries of ``fill`` behind them."""
    return np.concatenate([values, np.full((n, *values.shape[1:]), fill, dtype=values.dtype)])


def _with_unknown(table: LabelTable | None, n: int) -> LabelTable | None:
    """The table with n samples of which nothing is known behind its own."""
    if table is None:
        return None
    weight = None if table.weight is None else _padded(table.weight, n, 1)
    values, source = _padded(table.values, n, np.nan), _padded(table.source, n, UNKNOWN)
    return dataclasses.replace(table, values=values, source=source, weight=weight)
