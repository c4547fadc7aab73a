"""The feature file, which category-wise fine-tuning reads. ``labelwise features`` writes it, or anyone (docs: formats).

A ``.npz`` of arrays, or a folder of ``.npy`` files of the same names, whose large arrays are memory-mapped. A folder of
numbered folders (``00000``, ``00001``, ...) holds the rows of the first, then of the second, and so on; categories and
head are at the top or in the first one. Nothing is ever unpickled.

==============  ======================================================================================================
``features``    (N, D), or (N, C, D) for features of each category; float16 or float32
``labels``      (N, C): 1, 0, NaN (unknown), -1 (uncertain), or a soft label in between 0 and 1
``categories``  (C,) names
``split``       (N,) of fit, select and test; without it every row is fit
optional        ``head_weight`` (C, D) with ``head_bias`` (C,); ``label_weight`` (N, C); ``ids`` (N,); ``groups`` (N,)
==============  ======================================================================================================
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.config import SplitName, check_choice
from labelwise.data.dataset import SPLITS
from labelwise.data.files import as_strings, own_groups, read_arrays
from labelwise.errors import DataError
from labelwise.features.shards import (
    CHUNK_BYTES,
    LARGEST,
    FeatureArray,
    ShardedArray,
    chunks,
    first_entry,
    row_bytes,
    with_file_closed,
)
from labelwise.runs import RUN, atomic_write, write_json

Floats = NDArray[np.float32]
Texts = NDArray[np.str_]

REQUIRED = ("features", "labels", "categories")
OPTIONAL = ("split", "ids", "groups", "head_weight", "head_bias", "label_weight")
MAPPED = ("features", "labels", "label_weight")
PER_ROW = ("features", "labels", "split", "ids", "groups", "label_weight")
MARKER = "features.json"
"""File of a folder of features that is written last."""

_SAMPLED_ROWS = 512  # of which the features enter the fingerprint


def _empty() -> Texts:
    return np.empty(0, dtype="<U1")


@dataclass(frozen=True)
class FeatureSet:
    """Features of N samples and their labels in C categories.

    Parameters
    ----------
    name : for messages and reports
    features : (N, D) or (N, C, D), float16 or float32; a memory map is not read into memory
    labels : (N, C) float32; 1 positive, 0 negative, NaN unknown, -1 uncertain, between 0 and 1 soft; may be read-only
    categories : C names
    split : (N,) of ``fit``, ``select`` and ``test``
    head_weight, head_bias : (C, D) and (C,) float32 of the trained head, or None
    label_weight : (N, C) float32, finite and not negative: how much each label counts
    ids, groups : (N,) names; empty: the row numbers, and the ids

    Raises
    ------
    DataError
        In one line with key, row and category, for anything that does not fit. :func:`check_finite` checks the
        features' values.
    """

    name: str
    features: FeatureArray
    labels: Floats
    categories: tuple[str, ...]
    split: Texts
    head_weight: Floats | None = None
    head_bias: Floats | None = None
    label_weight: Floats | None = None
    ids: Texts = field(default_factory=_empty)
    groups: Texts = field(default_factory=_empty)

    def __post_init__(self) -> None:
        if len(self.ids) == 0 < len(self.features):
            object.__setattr__(self, "ids", np.arange(len(self.features)).astype(np.str_))
        if len(self.groups) == 0 < len(self.features):
            object.__setattr__(self, "groups", self.ids)
        _check_shapes(self)
        _check_names(self)
        _check_labels(self)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dim(self) -> int:
        """Length D of a feature vector."""
        return int(self.features.shape[-1])

    def rows(self, split: SplitName) -> NDArray[np.int64]:
        """Rows of one split."""
        check_choice("split", split, SplitName)
        return np.flatnonzero(self.split == split).astype(np.int64)

    def sizes(self) -> dict[str, int]:
        """Number of rows per split."""
        return {split: int((self.split == split).sum()) for split in SPLITS}

    def fingerprint(self) -> str:
        """Short hash of everything; of the features, only of some evenly spaced rows."""
        digest = hashlib.sha256(f"{self.features.shape} {self.features.dtype}".encode())
        for names in (self.categories, self.split.tolist(), self.ids.tolist(), self.groups.tolist()):
            digest.update("\0".join(names).encode() + b"\1")
        for array in (self.labels, self.head_weight, self.head_bias, self.label_weight):
            if array is None:
                digest.update(b"none")
                continue
            for chunk in chunks(array):
                digest.update(np.ascontiguousarray(array[chunk]).data)
        count = min(_SAMPLED_ROWS, len(self), max(1, CHUNK_BYTES // row_bytes(self.features)))
        sampled = np.linspace(0, len(self) - 1, count).astype(np.int64)
        digest.update(np.ascontiguousarray(self.features[sampled]).data)
        return digest.hexdigest()[:16]


def read_features(path: str | Path) -> FeatureSet:
    """Read and check a feature file.

    An .npz is read into memory. The features, labels and label weights of a folder are memory-mapped. Without ``split``
    every row is ``fit``.

    Parameters
    ----------
    path : an .npz file or a folder

    Raises
    ------
    DataError
        In one line with file, key, and row or category, for a file that is missing, damaged, unfinished, or wrong.
    """
    path = Path(path)
    arrays = _read_folder(path) if path.is_dir() else dict(read_arrays(path))
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise DataError(f"{path}: no {missing[0]!r}; it has {', '.join(sorted(arrays)) or 'nothing'}")
    try:
        feature_set = _from_arrays(path.stem, arrays)
        check_finite(arrays["features"], feature_set.ids)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return feature_set


def write_arrays(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays as .npy files, and remove the optional ones of an earlier feature set."""
    for key in OPTIONAL:
        if key not in arrays:
            (folder / f"{key}.npy").unlink(missing_ok=True)
    for key, array in arrays.items():
        atomic_write(folder / f"{key}.npy", lambda file, a=array: np.save(file, a, allow_pickle=False))  # type: ignore[misc]


def finish_folder(folder: Path, facts: dict[str, Any]) -> None:
    """Mark a folder of features as finished. ``facts`` are written to its marker."""
    write_json(folder / MARKER, {"format": "labelwise-features", "schema": 1, **facts}, sealed=True)


def check_finite(features: FeatureArray, ids: Texts) -> None:
    """Refuse NaN, infinities and more than `LARGEST` in ``features``. A memory map is read in chunks.

    Raises
    ------
    DataError
        With the row and column of the first.
    """
    for chunk in chunks(features):
        part = features[chunk]
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(part) if part.dtype == np.float16 else ~(np.abs(part.astype(np.float32)) <= LARGEST)
        if bad.any():
            place = tuple(np.argwhere(bad)[0].tolist())
            row = chunk.start + place[0]
            raise DataError(
                f"features: row {row} ({str(ids[row])!r}), column {place[-1]} is {part[place]:.3g}; leave the row out,"
                f" or scale the features to at most {LARGEST:g}"
            )


def _read_folder(folder: Path) -> dict[str, Any]:
    """Arrays by name; ``features`` as one memory map, or several as one array."""
    if (folder / RUN).exists() and not (folder / MARKER).exists():
        raise DataError(f"{folder}: unfinished, rows are missing; run the same command again")
    shards = sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name.isdigit())
    top = _read_npy(folder)
    if not shards or "features" in top:
        return top
    if missing := sorted(set(range(int(shards[-1].name))) - {int(shard.name) for shard in shards}):
        raise DataError(f"{folder}: shard {missing[0]:05d} is missing, {shards[-1].name} is there")
    parts = [{key: with_file_closed(array) for key, array in _read_folder(shard).items()} for shard in shards]
    for shard, part in zip(shards, parts, strict=True):
        _refuse_other_head(shard, part, parts[0] | top)
    common = {key: value for key, value in parts[0].items() if key not in PER_ROW}
    for key in PER_ROW:
        have = [key in part for part in parts]
        if any(have) and not all(have):
            raise DataError(f"{shards[have.index(False)]}: no {key!r}, other shards have it")
        if not all(have) or key in top:
            continue
        arrays = [part[key] for part in parts]
        if len({(array.shape[1:], array.dtype.kind) for array in arrays}) > 1:
            shapes = ", ".join(f"{a.dtype} {a.shape}" for a in arrays)
            raise DataError(f"{folder}: {key!r} of the shards does not fit together: {shapes}")
        common[key] = ShardedArray.of(arrays) if key == "features" else np.concatenate(arrays)
    return {**common, **top}


def _refuse_other_head(shard: Path, part: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise DataError if a shard's categories, their order, or its head are not those of the first shard or the top."""
    for key in ("categories", "head_weight", "head_bias"):
        if key not in part:
            continue
        if key not in expected or part[key].shape != expected[key].shape:
            raise DataError(f"{shard}: {key} of shape {part[key].shape}, which other shards do not have")
        if (differ := part[key] != expected[key]).any():
            place = int(np.argwhere(differ)[0][0])
            said = f" ({str(part[key][place])!r}, not {str(expected[key][place])!r})" if key == "categories" else ""
            raise DataError(f"{shard}: {key} differs from that of other shards for category {place}{said}")


def _read_npy(folder: Path) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for key in (*REQUIRED, *OPTIONAL):
        file = folder / f"{key}.npy"
        if not file.exists():
            continue
        try:
            arrays[key] = np.load(file, mmap_mode="r" if key in MAPPED else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            pickled = "holds pickled objects, which are not loaded"
            raise DataError(f"{file}: {pickled if 'pickle' in str(error) else f'damaged ({error})'}") from None
    return arrays


def _from_arrays(name: str, arrays: dict[str, Any]) -> FeatureSet:
    """Arrays of a file, in the types of a :class:`FeatureSet`."""
    for key in ("labels", "head_weight", "head_bias", "label_weight", "features"):
        if key in arrays and arrays[key].dtype.kind not in "fiub":
            raise DataError(f"{key}: {arrays[key].dtype} are not numbers")
    features = arrays["features"]
    if features.dtype not in (np.float16, np.float32):
        if not isinstance(features, np.ndarray) or isinstance(features, np.memmap):
            raise DataError(f"features: {features.dtype}; save them as float16 or float32")
        with np.errstate(over="ignore"):  # `check_finite` refuses what does not fit
            features = features.astype(np.float32)
    floats = ("labels", "head_weight", "head_bias", "label_weight")
    fields: dict[str, Any] = {key: np.asarray(arrays[key], dtype=np.float32) for key in floats if key in arrays}
    fields["split"] = np.full(len(features), "fit")
    fields |= {key: as_strings(arrays[key], f"{key}: ") for key in ("split", "ids", "groups") if key in arrays}
    if "groups" in fields:
        ids = fields.get("ids", np.arange(len(features)).astype(np.str_))
        fields["groups"] = own_groups(fields["groups"], ids)
    categories = tuple(as_strings(arrays["categories"], "categories: ").tolist())
    return FeatureSet(name=name, features=features, categories=categories, **fields)


def _check_shapes(s: FeatureSet) -> None:
    n, c = len(s.features), len(s.categories)
    if s.features.ndim not in (2, 3) or 0 in s.features.shape:
        raise DataError(f"features: shape {s.features.shape}, expected (N, D) or (N, C, D) with at least one row")
    if s.features.dtype not in (np.float16, np.float32):
        raise DataError(f"features: {s.features.dtype}, expected float16 or float32")
    if s.features.ndim == 3 and s.features.shape[1] != c:
        raise DataError(f"features: {s.features.shape[1]} categories in shape {s.features.shape}, there are {c}")
    expected: dict[str, tuple[int, ...]] = {
        **{"labels": (n, c), "label_weight": (n, c), "split": (n,), "ids": (n,), "groups": (n,)},
        **{"head_weight": (c, s.dim), "head_bias": (c,)},
    }
    for key, shape in expected.items():
        value = getattr(s, key)
        if value is not None and value.shape != shape:
            what = f"{n} rows, {c} categories, {s.dim} features"
            raise DataError(f"{key}: shape {value.shape}, expected {shape} ({what})")
    if (s.head_weight is None) != (s.head_bias is None):
        have, lacks = ("head_bias", "head_weight") if s.head_weight is None else ("head_weight", "head_bias")
        raise DataError(f"{have} is given without {lacks}; give both (zeros for a head without a bias) or none")
    for key in ("head_weight", "head_bias"):
        value = getattr(s, key)
        if value is not None and not np.isfinite(value).all():
            category = s.categories[int(np.argwhere(~np.isfinite(value))[0][0])]
            raise DataError(f"{key}: NaN or infinite values for category {category!r}")


def _check_names(s: FeatureSet) -> None:
    if len(set(s.categories)) < len(s.categories):
        repeated = next(name for i, name in enumerate(s.categories) if name in s.categories[:i])
        raise DataError(f"categories: {repeated!r} appears twice")
    wrong = ~np.isin(s.split, SPLITS)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"split: row {row} ({str(s.ids[row])!r}) says {str(s.split[row])!r}, not {', '.join(SPLITS)}")
    if not (s.split == "fit").any():
        raise DataError("split: no row is fit, so there is nothing to learn from")
    names, first, count = np.unique(s.ids, return_index=True, return_counts=True)
    if (count > 1).any():
        row = first[count > 1][0]
        raise DataError(f"ids: {str(s.ids[row])!r} appears {count[count > 1][0]} times, first in row {row}")
    if s.groups is s.ids:
        return
    names, member = np.unique(s.groups, return_inverse=True)
    inside = np.stack([np.bincount(member[s.split == split], minlength=len(names)) > 0 for split in SPLITS])
    parted = inside.sum(axis=0) > 1
    if parted.any():
        group = int(parted.argmax())
        one, two, *_ = (split for split, there in zip(SPLITS, inside[:, group], strict=True) if there)
        raise DataError(
            f"groups: {str(names[group])!r} is in {one} and in {two}; all rows of a group must be in one split"
        )


def _check_labels(s: FeatureSet) -> None:
    if place := first_entry(s.labels, lambda part: ((part < 0) & (part != -1)) | (part > 1)):
        row, category = place
        raise DataError(
            f"labels: {s.labels[row, category]:g} in row {row} ({str(s.ids[row])!r}), category"
            f" {s.categories[category]!r}; expected 1, 0, NaN (unknown), -1 (uncertain) or a soft label in [0, 1]"
        )
    if s.label_weight is None:
        return
    if place := first_entry(s.label_weight, lambda part: ~(np.isfinite(part) & (part >= 0))):
        row, category = place
        raise DataError(
            f"label_weight: {s.label_weight[row, category]:g} in row {row} ({str(s.ids[row])!r}), category"
            f" {s.categories[category]!r}; expected a finite number, not negative"
        )
