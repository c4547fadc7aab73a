"""MS-COCO: the instances JSON files and their image folders, read as multi-label data.

    ROOT/annotations/instances_train2014.json     ROOT/train2014/COCO_train2014_000000000009.jpg
    ROOT/annotations/instances_val2014.json       ROOT/val2014/COCO_val2014_000000000042.jpg

Any year has this layout (2014 and 2017 were published); any data set of instances in the same JSON can be read, too.
Format: Lin et al., *Microsoft COCO*, 2014, and cocodataset.org, "Data format", object detection.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelwise.config import CocoConfig
from labelwise.data.dataset import Samples
from labelwise.data.files import refuse_repeated
from labelwise.data.readers.located import image_files
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, LabelTable
from labelwise.textfile import read_text

T = TypeVar("T", int, str)
_INSTANCES = re.compile(r"instances_(train|val)(\d{4})\.json")


@dataclass(frozen=True)
class _Instances:
    """One file: its categories by ascending id, images in its order, and (row, column) of every annotation."""

    categories: tuple[str, ...]
    file_names: tuple[str, ...]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def read(config: CocoConfig) -> Samples:
    """Images with every category positive that an annotation of the image names, and negative otherwise.

    - ``data.source`` is the folder above, with the instances of one year: parts ``train`` and ``val``; images lie under
      ``data.root`` or else the folder itself. Or it is one instances file, without parts; its file names start at
      ``data.root`` or else the file's folder.
    - Labels are complete, so nothing is unknown. An ``iscrowd`` annotation (a group of objects) is positive, too.
    - Images without any annotation are kept, as rows that are negative throughout. The protocols of CFT do so; others
      (Large Loss, SPLC) leave these images out.
    - Rows are in the order in which the file lists the images, since what the published protocols hide depends on it.
      Categories are in the order of ascending ids, ids of samples are file names. The format has no groups.

    Raises
    ------
    DataError
        Naming the file and the key: missing or truncated, without images, annotations or categories, an annotation of
        an unknown category or an image that is not listed, an id, image or category twice, an image that is not there
        (unless ``unreadable: skip``), two years in one folder.
    """
    source = Path(config.source)
    if source.is_dir():
        folder = source if config.root is None else Path(config.root)
        files = {part: (path, folder / path.stem.removeprefix("instances_")) for part, path in _parts(source).items()}
    else:
        files = {"": (source, source.parent if config.root is None else Path(config.root))}
    found = {part: _instances(path) for part, (path, _) in files.items()}
    first = next(iter(found))
    categories = found[first].categories
    for part, instances in found.items():
        if instances.categories != categories:
            raise DataError(f"{files[part][0]}: categories are not those of {files[first][0].name}")
    ids = [name for instances in found.values() for name in instances.file_names]
    refuse_repeated(ids, f"{source}: image")
    paths = tuple(files[part][1] / name for part, instances in found.items() for name in instances.file_names)
    values = np.concatenate([_values(instances) for instances in found.values()])
    return Samples(
        name=source.resolve().stem,
        classes=categories,
        ids=np.array(ids),
        label=np.full(len(ids), -1, dtype=np.int64),
        part=np.repeat(list(found), [len(instances.file_names) for instances in found.values()]),
        source=image_files(source, paths, config),
        table=LabelTable(values, np.full(values.shape, GIVEN, dtype=np.uint8), categories),
    )


def _parts(root: Path) -> dict[str, Path]:
    """The instances files of a folder, train first."""
    years: dict[str, dict[str, Path]] = {}
    for path in sorted((root / "annotations").glob("instances_*.json")):
        if match := _INSTANCES.fullmatch(path.name):
            years.setdefault(match[2], {})[match[1]] = path
    if len(years) > 1:
        raise DataError(
            f"{root / 'annotations'}: instances of {' and '.join(years)}; keep one year in the folder, or give one"
            " instances file as data.source"
        )
    parts = next(iter(years.values()), {})
    if "train" not in parts:
        raise DataError(f"{root}: no annotations/instances_trainYEAR.json, from which training images are read")
    return parts


def _values(instances: _Instances) -> NDArray[np.float32]:
    values = np.zeros((len(instances.file_names), len(instances.categories)), dtype=np.float32)
    values[instances.rows, instances.columns] = 1
    return values


def _instances(path: Path) -> _Instances:
    content = _parse(path)
    images, annotations, categories = (_entries(path, content, key) for key in ("images", "annotations", "categories"))
    image_ids = _field(path, "images", images, "id", int)
    file_names = _field(path, "images", images, "file_name", str)
    category_ids = _field(path, "categories", categories, "id", int)
    names = _field(path, "categories", categories, "name", str)
    refuse_repeated(image_ids, f"{path}: images: id")
    refuse_repeated(file_names, f"{path}: images: file_name")
    refuse_repeated(category_ids, f"{path}: categories: id")
    refuse_repeated(names, f"{path}: categories: name")
    by_id = sorted(zip(category_ids, names, strict=True))
    return _Instances(
        categories=tuple(name for _, name in by_id),
        file_names=tuple(file_names),
        rows=_places(path, annotations, "image_id", image_ids, "is not the id of a listed image"),
        columns=_places(path, annotations, "category_id", [i for i, _ in by_id], "is not the id of a category"),
    )


def _parse(path: Path) -> Any:
    """Content of a JSON file without the outlines, which are most of it."""

    def without_outline(entry: dict[str, Any]) -> dict[str, Any]:
        entry.pop("segmentation", None)
        return entry

    try:
        return json.loads(read_text(path), object_hook=without_outline)
    except ValueError as error:
        raise DataError(f"{path}: truncated or not JSON ({error})") from None


def _entries(path: Path, content: Any, key: str) -> list[Any]:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list) or not value:
        raise DataError(
            f"{path}: no {key!r}, or none in it; an instances file lists images, annotations and categories"
        )
    return value


def _field(path: Path, key: str, entries: list[Any], name: str, kind: type[T]) -> list[T]:
    """One field of every entry of a list."""
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
            what = "a whole number" if kind is int else "text"
            raise DataError(f"{path}: {key}[{i}] has no {name!r} that is {what}")
    return [entry[name] for entry in entries]


def _places(path: Path, annotations: list[Any], name: str, ids: list[int], problem: str) -> NDArray[np.int64]:
    """Where in ``ids`` a field of every annotation is."""
    place = {number: i for i, number in enumerate(ids)}
    values = _field(path, "annotations", annotations, name, int)
    for i, value in enumerate(values):
        if value not in place:
            raise DataError(f"{path}: annotations[{i}]: {name} {value} {problem}")
    return np.array([place[value] for value in values], dtype=np.int64)
