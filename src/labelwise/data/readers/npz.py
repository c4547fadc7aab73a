"""One .npz file: raw images, packed JPEGs or PNGs, or embeddings of a frozen network.

=============  =======================================================================================================
images         ``images`` (or ``image``, ``x``, ``data``): (N, H, W) or (N, H, W, C) uint8, C 1 or 3
packed images  ``jpeg`` (or ``blob``): uint8 (bytes,); ``offset`` (N + 1,): image i is ``jpeg[offset[i]:offset[i+1]]``
embeddings     ``features`` (N, D)
labels         ``label`` (or ``labels``, ``y``): (N,) class indices or names, -1 unlabelled; multi-label data: (N, C) of
               1, 0, NaN (unknown), -1 (uncertain) or soft labels in between 0 and 1
split          ``split`` (or ``data.split_column``) (N,): fit, select, test, train, val or 0, 1, 2; or ``n_train``: the
               first so many are training
optional       ``classes`` (or ``categories``, ``label_name``, ``name``, ``names``) (C,), ``ids`` (or ``image_name``)
               (N,), ``groups`` (or ``patient``, or ``data.group_column``) (N,)
=============  =======================================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.config import DataConfig, EmbeddingsConfig, NpzConfig
from labelwise.data.dataset import Features, ImageSource, PackedImages, PixelArray, Samples
from labelwise.data.files import as_strings, encode_labels, parse_parts, read_arrays
from labelwise.data.memory import as_asked, with_channels
from labelwise.errors import DataError
from labelwise.labels.table import LabelTable

Arrays = dict[str, NDArray[Any]]

_IMAGES = ("images", "image", "x", "data")
_PACKED = ("jpeg", "blob")
_LABELS = ("label", "labels", "y")
_CLASSES = ("classes", "categories", "label_name", "name", "names")
_IDS = ("ids", "image_name")
_GROUPS = ("groups", "patient")
_DEFAULT_SPLIT = NpzConfig.model_fields["split_column"].default


def read(config: NpzConfig) -> Samples:
    """Images of an .npz; its embeddings if it has ``features`` and no images.

    Raises
    ------
    DataError
        Naming the file and the key: missing, damaged, of a wrong shape or type, or labels out of range.
    """
    path = Path(config.source)
    arrays = read_arrays(path)
    return _samples(path, arrays, read_source(path, arrays, config), config)


def read_source(path: Path, arrays: Arrays, config: DataConfig) -> ImageSource | Features:
    """The pixels, or else the embeddings, of an .npz file's arrays, without labels; its embeddings if ``config`` says
    so."""
    if isinstance(config, EmbeddingsConfig):
        if "features" not in arrays:
            raise _missing(path, arrays, ("features",), "embeddings")
        return _features(path, arrays)
    if _key(arrays, _IMAGES):
        return _raw_images(path, arrays, config)
    if _key(arrays, _PACKED):
        return _packed_images(path, arrays, config)
    if "features" in arrays:
        return _features(path, arrays)
    raise _missing(path, arrays, (*_IMAGES, *_PACKED, "features"), "images")


def read_embeddings(config: EmbeddingsConfig) -> Samples:
    """Embeddings of an .npz: ``features`` (N, D), finite. Errors as :func:`read`."""
    path = Path(config.source)
    arrays = read_arrays(path)
    return _samples(path, arrays, read_source(path, arrays, config), config)


def read_names(
    path: Path, arrays: Arrays, config: DataConfig, n: int
) -> tuple[NDArray[np.str_] | None, NDArray[np.str_] | None]:
    """Ids and groups (n,) of an .npz file's samples, None where it has none."""
    found = []
    for key in (_key(arrays, _IDS), getattr(config, "group_column", None) or _key(arrays, _GROUPS)):
        if key is not None and key in arrays and arrays[key].shape != (n,):
            raise DataError(f"{path}: {key} has shape {arrays[key].shape}, expected ({n},): one per sample")
        found.append(as_strings(arrays[key], f"{path}: {key}: ") if key in arrays else None)
    return found[0], found[1]


def _samples(
    path: Path, arrays: Arrays, source: ImageSource | Features, config: NpzConfig | EmbeddingsConfig
) -> Samples:
    label_key = _key(arrays, _LABELS)
    if label_key is None:
        raise _missing(path, arrays, _LABELS, "labels")
    class_key = _key(arrays, _CLASSES)
    names = None if class_key is None else _class_names(arrays[class_key], f"{path}: {class_key}: ")
    n, table = len(source), None
    if arrays[label_key].ndim == 2:
        table = _table(arrays[label_key], names, f"{path}: {label_key}")
        label, classes = np.full(len(table), -1, dtype=np.int64), table.categories
    else:
        label, classes = encode_labels(arrays[label_key], names, f"{path}: {label_key}")
    id_key = _key(arrays, _IDS)
    group_key = _key(arrays, _GROUPS) if config.group_column is None else config.group_column
    columns: Arrays = {label_key: label}
    for key in (config.split_column, id_key, group_key):
        if key in arrays:
            columns[key] = arrays[key]
        elif key not in (None, "", _DEFAULT_SPLIT):
            raise _missing(path, arrays, (key,), "such key")
    for key, values in columns.items():
        if values.shape != (n,):
            raise DataError(f"{path}: {key} has shape {values.shape}, expected ({n},): one per sample")
    return Samples(
        name=path.stem,
        classes=classes,
        ids=np.arange(n).astype(np.str_) if id_key is None else as_strings(columns[id_key], f"{path}: {id_key}: "),
        label=label,
        part=_parts(path, arrays, n, config.split_column),
        source=source,
        groups=None if group_key is None else as_strings(columns[group_key], f"{path}: {group_key}: "),
        table=table,
    )


def _class_names(values: NDArray[Any], where: str) -> tuple[str, ...]:
    if values.dtype.kind in "fcmM" and np.isnan(values).any():
        raise DataError(f"{where}a name is NaN, expected text")
    return tuple(as_strings(values, where).tolist())


def _table(labels: NDArray[Any], names: tuple[str, ...] | None, where: str) -> LabelTable:
    """Labels (N, C) of multi-label data; without names, the categories are numbered."""
    return LabelTable.from_wire(labels, names or tuple(map(str, range(labels.shape[1]))), name=where)


def _parts(path: Path, arrays: Arrays, n: int, split_key: str) -> NDArray[np.str_]:
    """The file's own parts; ``data.split_column: ""`` leaves them aside."""
    if split_key in arrays:
        return parse_parts(arrays[split_key], f"{path}: {split_key}")
    if split_key == "":
        return np.full(n, "")
    if "n_train" in arrays:
        n_train = arrays["n_train"]
        if n_train.size != 1 or n_train.dtype.kind not in "iu" or not 0 < int(n_train.item()) <= n:
            raise DataError(f"{path}: n_train must be one integer from 1 to {n}, found {n_train}")
        return np.where(np.arange(n) < int(n_train.item()), "train", "val")
    return np.full(n, "")


def _raw_images(path: Path, arrays: Arrays, config: DataConfig) -> PixelArray:
    key = _key(arrays, _IMAGES) or ""
    pixels = arrays[key]
    if pixels.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {pixels.dtype}, expected uint8 (0 to 255)")
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape:
        expected = "(N, H, W), (N, H, W, 1) or (N, H, W, 3), channels last"
        raise DataError(f"{path}: {key} has shape {arrays[key].shape}, expected {expected}")
    return PixelArray(with_channels(pixels, config.channels))


def _packed_images(path: Path, arrays: Arrays, config: DataConfig) -> PackedImages:
    key = _key(arrays, _PACKED) or ""
    blob = arrays[key]
    if blob.dtype != np.uint8 or blob.ndim != 1:
        raise DataError(f"{path}: {key} is {blob.dtype} of shape {blob.shape}, expected uint8 (bytes,)")
    if "offset" not in arrays:
        raise _missing(path, arrays, ("offset",), "where each image begins")
    if arrays["offset"].ndim != 1 or arrays["offset"].dtype.kind not in "iu" or len(arrays["offset"]) < 2:
        raise DataError(f"{path}: offset must be N + 1 integers, is {arrays['offset'].dtype} {arrays['offset'].shape}")
    offset = arrays["offset"].astype(np.int64)
    if offset[0] < 0 or offset[-1] > len(blob) or (np.diff(offset) < 0).any():
        raise DataError(f"{path}: offset must rise from 0 to the {len(blob)} bytes of {key}")
    return as_asked(PackedImages(blob, offset[:-1], offset[1:], 3), config)


def _features(path: Path, arrays: Arrays) -> Features:
    values = arrays["features"]
    if values.ndim != 2 or values.dtype.kind not in "fiu" or 0 in values.shape:
        raise DataError(f"{path}: features is {values.dtype} of shape {values.shape}, expected numbers (N, D)")
    with np.errstate(over="ignore"):  # told as infinite
        values = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
        raise DataError(f"{path}: features of row {bad[0]} are NaN or infinite{more}")
    return Features(values)


def _key(arrays: Arrays, names: tuple[str, ...]) -> str | None:
    """The first of some accepted names that the file uses."""
    return next((name for name in names if name in arrays), None)


def _missing(path: Path, arrays: Arrays, wanted: tuple[str, ...], what: str) -> DataError:
    return DataError(
        f"{path}: no {what}: expected {' or '.join(wanted)}, it has {', '.join(sorted(arrays)) or 'nothing'}"
    )
