"""Data sets of the Hugging Face hub, ``hf:NAME`` or ``hf:NAME:CONFIG``, through the optional package ``datasets``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from labelwise.config import HubConfig
from labelwise.data.dataset import PackedImages, Samples
from labelwise.data.files import PARTS, encode_labels
from labelwise.data.memory import as_asked
from labelwise.errors import DataError

_DEFAULT_IMAGE = HubConfig.model_fields["image_column"].default
_IMAGES = ("image", "img")


def read(config: HubConfig) -> Samples:
    """The encoded images as the data set stores them, packed; ids are ``split/row``.

    The image column is ``data.image_column``, by default ``image`` or ``img``. Splits with names that are none of
    train, val and test are left out.

    Raises
    ------
    DataError
        If ``datasets`` is not installed, the data set cannot be loaded, or a column is missing.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(f"{config.source}: needs the package datasets: pip install 'labelwise[hf]'") from None
    name, _, subset = config.source.removeprefix("hf:").partition(":")
    try:
        loaded: Any = datasets.load_dataset(name, subset or None)
    except Exception as error:  # the hub, the file system and the data set's own format all fail in their own ways
        raise DataError(f"{config.source}: cannot be loaded ({' '.join(str(error).split())})") from None

    splits = {split: rows for split, rows in loaded.items() if split.lower() in PARTS}
    if not splits:
        raise DataError(f"{config.source}: no split train, val or test; it has {', '.join(loaded)}")
    images: list[bytes] = []
    labels: list[Any] = []
    ids: list[str] = []
    part: list[str] = []
    classes: tuple[str, ...] | None = None
    for split, rows in splits.items():
        wanted = _IMAGES if config.image_column == _DEFAULT_IMAGE else (config.image_column,)
        image_column = _column(config, rows, wanted)
        label_column = _column(config, rows, (config.label_column,))
        names = getattr(rows.features[label_column], "names", None)
        classes = classes if names is None else tuple(names)
        images += [
            _encoded(entry) for entry in rows.cast_column(image_column, datasets.Image(decode=False))[image_column]
        ]
        labels += list(rows[label_column])
        ids += [f"{split}/{row}" for row in range(len(rows))]
        part += [PARTS[split.lower()]] * len(rows)
    label, found = encode_labels(np.array(labels), classes, f"{config.source}: {config.label_column}")
    blob = np.frombuffer(b"".join(images), dtype=np.uint8)
    stop = np.cumsum([len(image) for image in images], dtype=np.int64)
    start = np.concatenate([[0], stop[:-1]]).astype(np.int64)
    return Samples(
        name=name.replace("/", "-"),
        classes=found,
        ids=np.array(ids),
        label=label,
        part=np.array(part),
        source=as_asked(PackedImages(blob, start, stop, 3), config),
    )


def _column(config: HubConfig, rows: Any, names: tuple[str, ...]) -> str:
    for name in names:
        if name in rows.features:
            return name
    raise DataError(f"{config.source}: no column {' or '.join(names)}; it has {', '.join(rows.features)}")


def _encoded(entry: dict[str, Any]) -> bytes:
    """Bytes of an undecoded image: in the data set, or in a file it points to."""
    data = entry["bytes"]
    return data if data is not None else Path(entry["path"]).read_bytes()
