"""What a reader delivers: samples with stable ids, labels, splits, and a source of pixels or features.

Readers build a :class:`Samples`; :func:`labelwise.data.splits.prepare` turns it into a :class:`Dataset` with
``fit`` / ``select`` / ``test`` (docs/how-it-works.md).
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from labelwise.config import SplitName, check_choice
from labelwise.data.decode import AS_STORED, Reading, decode_image
from labelwise.errors import DataError
from labelwise.labels.table import LabelTable

SPLITS: tuple[SplitName, ...] = ("fit", "select", "test")

UNLABELLED: Literal["unlabelled"] = "unlabelled"
"""The split of samples without a label, for networks with a refinery to learn from beside ``fit``."""


class ImageSource(Protocol):
    """Pixels by row."""

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        ...

    def __len__(self) -> int: ...

    def read(self, row: int) -> NDArray[np.uint8]:
        """Image ``row`` as (H, W, C), C is 1 or 3."""
        ...

    def take(self, rows: NDArray[np.int64]) -> ImageSource:
        """The same source with only ``rows``, in that order."""
        ...


@dataclass(frozen=True)
class PixelArray:
    """Images of one size, held in memory: ``pixels`` (N, H, W, C) uint8."""

    pixels: NDArray[np.uint8]

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[3])

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, row: int) -> NDArray[np.uint8]:
        return self.pixels[row]

    def take(self, rows: NDArray[np.int64]) -> PixelArray:
        return PixelArray(self.pixels[rows])


@dataclass(frozen=True)
class PackedImages:
    """Encoded images (JPEG, PNG) one after the other in ``blob``; image ``i`` is ``blob[start[i]:stop[i]]``."""

    blob: NDArray[np.uint8]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    channels: int
    reading: Reading = AS_STORED

    def __len__(self) -> int:
        return len(self.start)

    def read(self, row: int) -> NDArray[np.uint8]:
        # Rows change under take(); the place in the blob is what a user can find again.
        name = f"packed image at bytes {self.start[row]}:{self.stop[row]}"
        return decode_image(self.file(row), self.channels, name, self.reading)

    def file(self, row: int) -> IO[bytes]:
        """The encoded image."""
        return io.BytesIO(self.blob[self.start[row] : self.stop[row]].tobytes())

    def take(self, rows: NDArray[np.int64]) -> PackedImages:
        return dataclasses.replace(self, start=self.start[rows], stop=self.stop[rows])


@dataclass(frozen=True)
class ImageFiles:
    """Image files on disk."""

    paths: tuple[Path, ...]
    channels: int
    reading: Reading = AS_STORED

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> NDArray[np.uint8]:
        return decode_image(self.paths[row], self.channels, reading=self.reading)

    def file(self, row: int) -> Path:
        """Path of the image."""
        return self.paths[row]

    def take(self, rows: NDArray[np.int64]) -> ImageFiles:
        return dataclasses.replace(self, paths=tuple(self.paths[row] for row in rows))


@dataclass(frozen=True)
class JoinedImages:
    """Images of several sources that have as many channels: image ``i`` is number ``places[i]`` of all of them, one
    source after the other."""

    sources: tuple[ImageSource, ...]
    places: NDArray[np.int64]

    @property
    def channels(self) -> int:
        return self.sources[0].channels

    def __len__(self) -> int:
        return len(self.places)

    def read(self, row: int) -> NDArray[np.uint8]:
        place, number = int(self.places[row]), 0
        while place >= len(self.sources[number]):
            place, number = place - len(self.sources[number]), number + 1
        return self.sources[number].read(place)

    def take(self, rows: NDArray[np.int64]) -> JoinedImages:
        return JoinedImages(self.sources, self.places[rows])


@dataclass(frozen=True)
class Features:
    """Embeddings of a frozen network: ``values`` (N, D) float32."""

    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.int64]) -> Features:
        return Features(self.values[rows])


@dataclass(frozen=True)
class Samples:
    """What a reader found. Single-label: ``label`` is int64 (N,), -1 for unlabelled. Multi-label: ``table`` holds the
    labels, ``classes`` are its categories, and ``label`` is -1 throughout.

    ``part`` says what the data itself calls a sample: ``train``, ``val`` (the set's own validation or test), a
    labelwise split (``fit``/``select``/``test``), or ``""`` where the data has no split.
    ``true_label`` is for scoring only. ``unreadable`` names what was skipped; ``left_out``
    counts files that are no images, by kind.
    """

    name: str
    classes: tuple[str, ...]
    ids: NDArray[np.str_]
    label: NDArray[np.int64]
    part: NDArray[np.str_]
    source: ImageSource | Features
    groups: NDArray[np.str_] | None = None
    true_label: NDArray[np.int64] | None = None
    unreadable: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    table: LabelTable | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """The samples of ``rows``, in that order."""
        return Samples(
            name=self.name,
            classes=self.classes,
            ids=self.ids[rows],
            label=self.label[rows],
            part=self.part[rows],
            source=self.source.take(rows),
            groups=None if self.groups is None else self.groups[rows],
            true_label=None if self.true_label is None else self.true_label[rows],
            unreadable=self.unreadable,
            left_out=self.left_out,
            table=None if self.table is None else self.table.take(rows),
        )


@dataclass(frozen=True)
class Dataset:
    """Samples with their splits: ``split`` (N,) holds ``fit``, ``select`` or ``test``. A group lies in one split.

    A fourth split, ``unlabelled``, holds samples without a label: ``label`` is -1, or no label of ``table`` is known.
    Some may be of a group of ``fit``.

    Labels of ``test`` are the true ones where the data has them; ``label`` of ``fit`` and ``select`` are the given
    ones, right or wrong. ``true_label`` (N,), where known, is never trained or selected on.
    Multi-label data have a ``table`` over the categories ``classes``, and ``label`` is -1 throughout. Where labels of
    ``fit`` were hidden for an experiment, ``true_table`` still has them, to score what is inferred.
    ``votes`` (N, K), where people were asked, are the shares of their votes, NaN throughout for a sample without any;
    for scoring only.
    ``value_range`` are the values of 16-bit or floating point images that are read as black and white.
    ``reviewed`` says which labels a person has looked at since they were given: (N,), or (N, C) of multi-label data.
    ``uncorrected`` are the labels before any correction, where there are some: (N,), -1 where that is not known, or
    (N, C), NaN there. Nothing learns them; an audit finds from them how labels become wrong.
    """

    name: str
    classes: tuple[str, ...]
    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    label: NDArray[np.int64]
    split: NDArray[np.str_]
    source: ImageSource | Features
    true_label: NDArray[np.int64] | None = None
    unreadable: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    table: LabelTable | None = None
    true_table: LabelTable | None = None
    votes: NDArray[np.float32] | None = None
    reviewed: NDArray[np.bool_] | None = None
    value_range: tuple[float, float] | None = None
    uncorrected: NDArray[Any] | None = None
    keys: NDArray[np.uint64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name in ("groups", "label", "split", "source"):
            if len(getattr(self, name)) != n:
                raise DataError(f"{self.name}: {name} has {len(getattr(self, name))} entries for {n} samples")
        if self.table is not None and (len(self.table) != n or self.table.categories != self.classes):
            raise DataError(f"{self.name}: the label table is not one of these {n} samples and their classes")
        if self.votes is not None and self.votes.shape != (n, len(self.classes)):
            raise DataError(f"{self.name}: votes have shape {self.votes.shape}, expected {(n, len(self.classes))}")
        labels = self.label if self.table is None else self.table.values
        if self.reviewed is not None and self.reviewed.shape != labels.shape:
            raise DataError(f"{self.name}: reviewed has shape {self.reviewed.shape}, expected {labels.shape}")
        object.__setattr__(self, "keys", sample_keys(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def is_features(self) -> bool:
        return isinstance(self.source, Features)

    @property
    def in_files(self) -> bool:
        """Whether the images are decoded as they are asked for."""
        return not isinstance(self.source, Features | PixelArray)

    def rows(self, split: SplitName | Literal["unlabelled"]) -> NDArray[np.int64]:
        """Rows of one split."""
        if split != UNLABELLED:
            check_choice("split", split, SplitName)
        return np.flatnonzero(self.split == split).astype(np.int64)

    def sizes(self) -> dict[str, int]:
        """Number of samples per split, of unlabelled ones where there are any."""
        found: dict[str, int] = {split: int((self.split == split).sum()) for split in SPLITS}
        unlabelled = int((self.split == UNLABELLED).sum())
        return found | ({UNLABELLED: unlabelled} if unlabelled else {})

    def fingerprint(self) -> str:
        """Hash of ids, labels, splits, votes and reviews: what a run depends on, short of the pixels themselves."""
        digest = hashlib.sha256()
        for array in (self.ids, self.label, self.split):
            digest.update("\0".join(map(str, array.tolist())).encode())
        digest.update("\0".join(self.classes).encode())
        if self.table is not None:
            weight = b"" if self.table.weight is None else self.table.weight.tobytes()
            digest.update(self.table.values.tobytes() + self.table.source.tobytes() + weight)
        if self.votes is not None:
            digest.update(self.votes.tobytes())
        if self.reviewed is not None:
            digest.update(self.reviewed.tobytes())
        if self.uncorrected is not None:
            digest.update(self.uncorrected.tobytes())
        if isinstance(self.source, Features):
            digest.update(np.ascontiguousarray(self.source.values).tobytes())
        elif isinstance(self.source, PixelArray):
            digest.update(np.ascontiguousarray(self.source.pixels).tobytes())
        return digest.hexdigest()[:16]


def sample_keys(ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.uint64]:
    """A 64-bit key per id, the same on every machine; views are drawn from it."""
    keys = [int.from_bytes(hashlib.blake2b(str(i).encode(), digest_size=8).digest(), "little") for i in ids]
    return np.array(keys, dtype=np.uint64)
