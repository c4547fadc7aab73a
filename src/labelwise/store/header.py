"""``store.json``: what the labels of a store are, and what they were made with. Whoever uses it is held to that."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from labelwise.config import ViewConfig
from labelwise.errors import DataError
from labelwise.results.record import Count, Number, Record, Task
from labelwise.runs import fingerprint, read_json, write_json
from labelwise.settings import resolve
from labelwise.store.layout import Layout, Precision

HEADER = "store.json"

COUNTS = ("samples", "sample_hash", "samples_per_shard", "shards")
"""Keys of a header that say which samples there are."""

FORMAT: Literal["labelwise-store-1"] = "labelwise-store-1"
"""Name and version of the format; a reader refuses others."""

CROP_KEYS = (
    "scale",
    "ratio",
    "flip",
    "interpolation",
    "rand_augment_ops",
    "rand_augment_magnitude",
    "erasing",
    "feature_dropout",
)
"""Keys of views that decide what a crop looks like."""


class Refined(Record):
    """A network that labelled: its name, a hash of its weights, and the card of its input."""

    name: str
    weights_hash: str
    input: dict[str, Any]


class StoreHeader(Record):
    """Content of ``store.json``.

    ``views`` are those options that decide what a crop looks like, ``seed`` draws it. ``samples_per_shard`` is that of
    every shard but the last one; None where shards follow the shards of the images. ``sample_hash`` is a hash of all
    sample ids in their order. ``channels`` is that of the images, 0 for embeddings.
    """

    format: Literal["labelwise-store-1"]
    task: Task
    classes: tuple[str, ...]
    refineries: tuple[Refined, ...]
    autocast: Literal["no", "fp16", "bf16"]
    views: dict[str, Any]
    channels: Count
    seed: Count
    views_per_sample: Count
    k: Count
    boxes: bool
    precision: Precision
    mass: Number
    samples: Count
    sample_hash: str
    samples_per_shard: Count | None
    shards: Count
    libraries: dict[str, str]

    @property
    def layout(self) -> Layout:
        """What a record holds."""
        multi_label = self.task == "multi-label"
        return Layout(len(self.classes), self.k, self.boxes, self.precision, self.mass, multi_label)

    @property
    def hash(self) -> str:
        """Sixteen hex digits that every shard of the store carries."""
        return fingerprint(self.to_dict())

    def view_config(self) -> ViewConfig:
        """The views that were labelled, as a recipe says them."""
        return resolve(ViewConfig, self.views | {"number": self.views_per_sample}, prefix="views")


def crop_views(views: ViewConfig) -> dict[str, Any]:
    """What decides what a crop looks like, as :attr:`StoreHeader.views` has it."""
    return views.model_dump(mode="json", include=set(CROP_KEYS))


def read_header(folder: Path) -> StoreHeader:
    """The header of a store.

    Raises
    ------
    DataError
        In one line, if the folder is no store, or one of another version, or its header is damaged.
    """
    file = folder / HEADER
    if not file.exists():
        raise DataError(f"{folder}: is no store of crop labels ({HEADER} is missing)")
    content = read_json(file)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise DataError(f"{file}: has format {found!r}, this version of labelwise reads {FORMAT}")
    try:
        return StoreHeader.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; the file is damaged") from None


def sample_hash(ids: Iterable[str]) -> str:
    """Sixteen hex digits of all ids in their order."""
    digest = hashlib.sha256()
    for name in ids:
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()[:16]


def claim(folder: Path, header: StoreHeader, *, write: bool = True) -> None:
    """Make a folder the store of ``header``: new, empty, or the same store already. Any number of processes may do so.

    Parameters
    ----------
    write : whether the header is written; otherwise it is only said whether it may be

    Raises
    ------
    DataError
        If the folder holds another store, with the first key that differs, or anything else.
    RunError
        If it cannot be written.
    """
    file = folder / HEADER
    if folder.is_file():
        raise DataError(f"{folder}: is a file, expected a folder; give another --out")
    if not file.exists():
        if found := sorted(path.name for path in folder.glob("[!.]*")):
            raise DataError(f"{folder}: is not empty and holds no store (it holds {found[0]}); give another --out")
        if not write:
            return
        write_json(file, header.to_dict(), once=True)
    if (other := first_difference(read_header(folder), header)) is not None:
        raise DataError(f"{folder}: holds a store with another {other}; give another --out")


def first_difference(one: StoreHeader, other: StoreHeader, without: Iterable[str] = ()) -> str | None:
    """The first key in which two stores differ, with both values, in words; None where they are alike, but for the keys
    ``without``."""
    own, others = one.to_dict(), other.to_dict()
    for key, value in own.items():
        if key not in without and value != others.get(key):
            return f"{key} ({_short(value)}, now {_short(others.get(key))})"
    return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
