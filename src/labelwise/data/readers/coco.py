"""MS-COCO: the instances JSON files and their image folders, read as multi-label data.

    ROOT/annotations/instances_train2014.json     ROOT/train2014/COCO_train2014_000000000009.jpg
    ROOT/annotations/instances_val2014.json       ROOT/val2014/COCO_val2014_000000000042.jpg

Any year has this layout (2014 and 2017 were published), or none: instances_train.json, train/. Tools for annotation
write train/_annotations.coco.json beside the images, and valid/, test/. Any single file of instances can be read, too.
Format: Lin et al., *Microsoft COCO*, 2014, and cocodataset.org, "Data format", object detection.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.config import CocoConfig
from labelwise.data.dataset import Samples
from labelwise.data.files import refuse_repeated, same_name
from labelwise.data.readers.located import locate
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, LabelTable
from labelwise.textfile import NOT_JSON, read_text

Key = int | str

_INSTANCES = re.compile(r"instances_(train|val|test)(\d{4}|)\.json")
_EXPORT = "_annotations.coco.json"
_EXPORTED = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class _Instances:
    """One file: its categories by ascending id, images in its order, and (row, column) of every annotation."""

    categories: tuple[str, ...]
    file_names: tuple[str, ...]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def read(config: CocoConfig) -> Samples:
    """Images with every category positive that an annotation of the image names, and negative otherwise.

    - ``data.source`` is the folder above, with the instances of one year: parts ``train`` and ``val`` (or ``test``);
      images lie under ``data.root`` or else the folder itself. Or it is one instances file, without parts; its file
      names start at ``data.root`` or else the file's folder.
    - Ids are whole numbers or text; 7, 7.0 and "7" are one.
    - Labels are complete, so nothing is unknown. An ``iscrowd`` annotation (a group of objects) is positive, too.
    - Images without any annotation are kept, as rows that are negative throughout. The protocols of CFT do so; others
      (Large Loss, SPLC) leave these images out.
    - Rows are in the order in which the file lists the images, since what the published protocols hide depends on it.
      Categories are in the order of ascending ids (in that of the file, if an id is text). Ids of samples are file
      names, with their folder where two parts have one of the same name. The format has no groups.

    Raises
    ------
    DataError
        Naming the file and the key: missing or truncated, without images, annotations or categories, an annotation of
        an unknown category or an image that is not listed, an id, image or category twice, an image that is not there
        (unless ``unreadable: skip``), two years in one folder.
    """
    source = Path(config.source)
    files = _parts(source) if source.is_dir() else {"": (source, "")}
    root = Path(config.root) if config.root is not None else source if source.is_dir() else source.parent
    found = {part: _instances(path) for part, (path, _) in files.items()}
    first = next(iter(found))
    categories = found[first].categories
    for part, instances in found.items():
        if instances.categories != categories:
            raise DataError(f"{files[part][0]}: categories are not those of {files[first][0].name}")
    names = [name for instances in found.values() for name in instances.file_names]
    paths = [posixpath.join(files[part][1], name) for part in found for name in found[part].file_names]
    values = np.concatenate([_values(instances) for instances in found.values()])
    return Samples(
        name=source.resolve().stem,
        classes=categories,
        ids=np.array(names if len(set(names)) == len(names) else paths),
        label=np.full(len(names), -1, dtype=np.int64),
        part=np.repeat(list(found), [len(instances.file_names) for instances in found.values()]),
        source=locate(source, root, paths, config),
        table=LabelTable(values, np.full(values.shape, GIVEN, dtype=np.uint8), categories),
    )


def _parts(root: Path) -> dict[str, tuple[Path, str]]:
    """The instances files of a folder, each with the folder of its images, train first."""
    exports = {
        part: (root / folder / _EXPORT, folder)
        for part, folders in _EXPORTED.items()
        for folder in folders
        if (root / folder / _EXPORT).is_file()
    }
    if "train" in exports:
        return exports
    years: dict[str, dict[str, tuple[Path, str]]] = {}
    for path in sorted((root / "annotations").glob("instances_*.json")):
        if match := _INSTANCES.fullmatch(path.name):
            years.setdefault(match[2], {})[match[1]] = (path, match[1] + match[2])
    if len(years) > 1:
        raise DataError(
            f"{root / 'annotations'}: instances of {' and '.join(years)}; keep one year in the folder, or give one"
            " instances file as data.source"
        )
    parts = next(iter(years.values()), {})
    if "train" not in parts:
        raise DataError(f"{root}: no annotations/instances_trainYEAR.json, from which training images are read")
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def _values(instances: _Instances) -> NDArray[np.float32]:
    values = np.zeros((len(instances.file_names), len(instances.categories)), dtype=np.float32)
    values[instances.rows, instances.columns] = 1
    return values


def _instances(path: Path) -> _Instances:
    content = _parse(path)
    images, annotations, categories = (_entries(path, content, key) for key in ("images", "annotations", "categories"))
    if any("neg_category_ids" in image for image in images[:1]):
        raise DataError(
            f"{path}: looks like LVIS, where most categories of an image are unknown; write a table of them"
        )
    image_ids = _keys(path, "images", images, "id")
    file_names = _texts(path, "images", images, "file_name")
    category_ids = _keys(path, "categories", categories, "id")
    names = [same_name(name) for name in _texts(path, "categories", categories, "name")]
    refuse_repeated(image_ids, f"{path}: images: id")
    refuse_repeated(file_names, f"{path}: images: file_name")
    refuse_repeated(category_ids, f"{path}: categories: id")
    refuse_repeated(names, f"{path}: categories: name")
    order = list(range(len(names)))
    if numbers := {i: key for i, key in enumerate(category_ids) if isinstance(key, int)}:
        order = sorted(order, key=lambda i: numbers[i]) if len(numbers) == len(names) else order
    in_order = [category_ids[i] for i in order]
    return _Instances(
        categories=tuple(names[i] for i in order),
        file_names=tuple(file_names),
        rows=_places(path, annotations, "image_id", image_ids, "is not the id of a listed image"),
        columns=_places(path, annotations, "category_id", in_order, "is not the id of a category"),
    )


def _parse(path: Path) -> Any:
    """Content of a JSON file without the outlines, which are most of it."""

    def without_outline(entry: dict[str, Any]) -> dict[str, Any]:
        entry.pop("segmentation", None)
        return entry

    try:
        return json.loads(read_text(path), object_hook=without_outline)
    except NOT_JSON as error:
        raise DataError(f"{path}: truncated or not JSON ({error})") from None


def _entries(path: Path, content: Any, key: str) -> list[Any]:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list) or not value:
        raise DataError(
            f"{path}: no {key!r}, or none in it; an instances file lists images, annotations and categories; of other"
            " JSON, write a table of paths and labels"
        )
    return value


def _texts(path: Path, key: str, entries: list[Any], name: str) -> list[str]:
    """One field of every entry of a list."""
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get(name), str):
            raise DataError(f"{path}: {key}[{i}] has no {name!r} that is text")
    return [entry[name] for entry in entries]


def _keys(path: Path, key: str, entries: list[Any], name: str) -> list[Key]:
    """An id of every entry of a list."""
    found = []
    for i, entry in enumerate(entries):
        value = _key(entry.get(name)) if isinstance(entry, dict) else None
        if value is None:
            raise DataError(f"{path}: {key}[{i}] has no {name!r} that is a whole number or text")
        found.append(value)
    return found


def _key(value: Any) -> Key | None:
    """An id, or None: whole numbers however they are written, other text as it is."""
    if isinstance(value, str):
        return int(value) if _NUMBER.fullmatch(value) and len(value) < 19 else value or None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _places(path: Path, annotations: list[Any], name: str, ids: list[Key], problem: str) -> NDArray[np.int64]:
    """Where in ``ids`` a field of every annotation is."""
    place = {key: i for i, key in enumerate(ids)}
    values = _keys(path, "annotations", annotations, name)
    for i, value in enumerate(values):
        if value not in place:
            raise DataError(f"{path}: annotations[{i}]: {name} {value} {problem}")
    return np.array([place[value] for value in values], dtype=np.int64)
