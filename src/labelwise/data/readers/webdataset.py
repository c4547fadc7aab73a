"""Tars in the layout of WebDataset (https://github.com/webdataset/webdataset): the members of a sample share the name
up to the first dot, such as ``n01/0001.jpg`` and ``n01/0001.cls``.

A tar is indexed when the data are read: its headers and its labels, no image.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.config import WebDatasetConfig
from labelwise.config.formats import expand_braces
from labelwise.data.dataset import Samples
from labelwise.data.decode import SUFFIXES
from labelwise.data.files import PARTS, encode_labels, same_name
from labelwise.data.memory import as_asked
from labelwise.data.readers.folder import refuse_other_text, tell_left_out
from labelwise.data.readers.lists import labels_from_lists
from labelwise.data.readers.table import to_table
from labelwise.data.tars import TarImages, members, read_bytes
from labelwise.errors import DataError
from labelwise.textfile import NOT_JSON

_SAMPLE = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
_IMAGES = frozenset(suffix[1:] for suffix in SUFFIXES)
_LABELS = ("cls", "json", "txt")
_KEYS = ("label", "cls")

Label = str | list[str] | None


@dataclass
class _Found:
    """What the tars hold, sample by sample."""

    ids: dict[str, int] = field(default_factory=dict)  # to the number of the tar
    part: list[str] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    label: list[Label] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)  # kind of label to the first sample that has it
    others: Counter[str] = field(default_factory=Counter)


def read(config: WebDatasetConfig) -> Samples:
    """The samples of all tars, in the order of the tars; the id of a sample is its key, behind its part if it has one.

    A tar is of the part (``train``, ``val``) whose folder it lies in, or that its name has as a word.

    Raises
    ------
    DataError
        If a tar is missing, truncated or compressed; for a sample without an image or with two, two samples with one
        key, and labels of two kinds.
    """
    tars = find_tars(config.source)
    found = _Found()
    for number, (tar, part) in enumerate(tars):
        _add(found, tar, number, part, [path for path, _ in tars], config)
    where = config.source
    if not found.ids:
        raise DataError(f"{where}: no sample in it")
    if len(found.kinds) > 1:
        some = " and ".join(f"{kind} ({sample})" for kind, sample in found.kinds.items())
        raise DataError(f"{where}: samples have labels of different kinds, {some}; set data.label_member or label_key")
    if config.label_key is not None and not any(kind.startswith("json") for kind in found.kinds):
        raise DataError(f"{where}: no sample has a .json with the key {config.label_key!r} (data.label_key)")
    tell_left_out(Path(where), found.others)
    images = TarImages(
        tuple(path for path, _ in tars),
        np.array(list(found.ids.values()), dtype=np.int32),
        np.array(found.start, dtype=np.int64),
        np.array(found.size, dtype=np.int64),
        3,
    )
    label, table = np.full(len(images), -1, dtype=np.int64), None
    classes: tuple[str, ...] = ()
    if "json list" in found.kinds:
        lists = [value if value is None else list(value) for value in found.label]
        classes = _in_order({name for names in lists for name in names or ()})
        table = to_table(Path(where), labels_from_lists(lists, classes), classes)
    elif found.kinds:
        label, classes = encode_labels(np.array(found.label, dtype=object), None, where)
    return Samples(
        name=Path(where.partition("{")[0]).name.removesuffix(".tar").rstrip("-_") or "tars",
        classes=classes,
        ids=np.array(list(found.ids)),
        label=label,
        part=np.array(found.part),
        source=as_asked(images, config),
        left_out=dict(found.others),
        table=table,
    )


def find_tars(source: str) -> list[tuple[Path, str]]:
    """Tars with their parts, in the order of their names.

    Raises
    ------
    DataError
        If one that is named is not there, or a folder has none.
    """
    paths = [Path(name) for name in expand_braces(source)]
    if len(paths) == 1 and paths[0].is_dir():
        root = paths[0]
        parts = {folder: PARTS[folder.name.lower()] for folder in root.iterdir() if folder.name.lower() in PARTS}
        inner = [(tar, part) for folder, part in sorted(parts.items()) for tar in sorted(folder.glob("*.tar"))]
        if inner:
            return inner
        paths = sorted(root.glob("*.tar"))
    if not paths:
        raise DataError(f"{source}: no tars in it")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more of {len(paths)})" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}: no such file{more}")
    return [(path, _part(path)) for path in paths]


def _part(path: Path) -> str:
    named = {PARTS[word] for word in re.split(r"[^a-z]+", path.stem.lower()) if word in PARTS}
    return named.pop() if len(named) == 1 else ""


def _add(found: _Found, tar: Path, number: int, part: str, tars: Sequence[Path], config: WebDatasetConfig) -> None:
    """Add the samples of one tar."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    for name, start, size in members(tar):
        match = _SAMPLE.fullmatch(name.removeprefix("./"))
        if match is None or match[1].startswith("__"):
            found.others["outside samples"] += 1
            continue
        own = samples.setdefault(match[1], {})
        if own.setdefault(match[2].lower(), (start, size)) != (start, size):
            raise DataError(f"{tar}: two samples have the key {match[1]!r} (.{match[2]} is there twice)")
    refuse_other_text(samples, tar)
    for key, parts in samples.items():
        images = [ending for ending in parts if ending in _IMAGES]
        if len(images) != 1:
            there = ", ".join(f".{ending}" for ending in images or parts)
            raise DataError(f"{tar}: sample {key!r} has {'two images' if images else 'no image'} ({there})")
        name = f"{part}/{key}" if part else key
        if name in found.ids:
            raise DataError(f"{tar}: sample {name!r} is in {tars[found.ids[name]]} too; a key may be there once")
        start, size = parts.pop(images[0])
        kind, label = _label(parts, tar, key, config)
        if kind is not None:
            found.kinds.setdefault(kind, name)
        found.ids[name] = number
        found.part.append(part)
        found.start.append(start)
        found.size.append(size)
        found.label.append(label)
        for ending in parts:
            if ending not in _LABELS:
                found.others[f".{ending}"] += 1


def _label(
    parts: dict[str, tuple[int, int]], tar: Path, key: str, config: WebDatasetConfig
) -> tuple[str | None, Label]:
    """The label of a sample and its kind: the member that holds it, and whether it is a list."""
    wanted = _LABELS if config.label_member == "auto" else (config.label_member,)
    keys = _KEYS if config.label_key is None else (config.label_key,)
    for member in wanted:
        if member not in parts:
            continue
        try:
            text = read_bytes(tar, *parts[member]).decode("utf-8-sig").strip()
            value = json.loads(text) if member == "json" else text
            if member == "json" and isinstance(value, dict):
                value = next((value[name] for name in keys if name in value), None)
            if isinstance(value, list):
                return "json list", list(map(_name, value))
            if value is not None and value != "":
                return member, _name(value)
        except NOT_JSON as error:
            raise DataError(f"{tar}: .{member} of sample {key!r} cannot be read ({error})") from None
    return None, None


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"it says {json.dumps(value)[:40]}, expected the name or the number of a class")
    return same_name(str(value))


def _in_order(names: set[str]) -> tuple[str, ...]:
    """Categories by name, or by number where all are numbers."""
    numbers = all(re.fullmatch(r"[0-9]+", name) for name in names)
    return tuple(sorted(names, key=int) if numbers else sorted(names))
