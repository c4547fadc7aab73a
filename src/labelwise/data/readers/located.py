"""Where the images lie that a table lists.

Tables come from other machines and other tools: their paths have backslashes, no ending, a folder that the root is
already in, or lack the folder that all images are in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from labelwise.config import DataConfig
from labelwise.data.dataset import ImageFiles
from labelwise.data.decode import SUFFIXES
from labelwise.data.files import refuse_repeated
from labelwise.data.memory import as_asked
from labelwise.data.notes import assume
from labelwise.data.readers.folder import look_under
from labelwise.errors import DataError

Find = Callable[[str], str | None]
"""The file that a name stands for, if there is one."""

_TRIED = 20  # names by which it is found where all paths start


def locate(table: Path, root: Path, names: Sequence[str], config: DataConfig) -> ImageFiles:
    """The image files that a table lists.

    A name is a path below ``root``, perhaps with backslashes, blanks around it, in other letters, or without the ending
    of the one image of its name. Where no name is the path of a file, the same leading folders are dropped from all
    names, or a folder in ``root`` is put before them; images without a folder are looked for everywhere under ``root``.
    A note says so.

    Raises
    ------
    DataError
        If one is not there, unless ``unreadable: skip``, which lists it later; if several files could be meant, or two
        names mean one.
    """
    find = _finder(root)
    paths = list(map(find, names))
    if not any(paths):
        change = _by_tree(table, root, names) if not any(map(_folders, names[:_TRIED])) else None
        change = change or _by_start(table, root, names[:_TRIED], find)
        paths = list(map(change, names)) if change else paths
    whole = [os.path.join(root, name) if path is None else path for path, name in zip(paths, names, strict=True)]  # noqa: PTH118
    if len(set(whole)) < len(whole):
        refuse_repeated(whole, f"{table}: by two names, the image")
    _refuse_missing(table, [name for path, name in zip(paths, whole, strict=True) if path is None], config)
    return as_asked(ImageFiles(tuple(map(Path, whole)), 3), config)


def image_files(table: Path, paths: Sequence[Path], config: DataConfig) -> ImageFiles:
    """Image files, grey or colour as the options or their headers say.

    Raises
    ------
    DataError
        If one is not there, unless ``unreadable: skip``, which lists it later.
    """
    if config.unreadable == "fail":
        _refuse_missing(table, [str(image) for image in paths if not os.path.isfile(image)], config)  # noqa: PTH113
    return as_asked(ImageFiles(tuple(paths), 3), config)


def _refuse_missing(table: Path, missing: Sequence[str], config: DataConfig) -> None:
    if missing and config.unreadable == "fail":
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{table}: {missing[0]} is listed but not there{more}; set data.root to the folder where the paths start"
        )


def _finder(root: Path) -> Find:
    inside = cache(_in_folder)  # folders are few
    start = str(root)

    def find(name: str) -> str | None:
        path = os.path.join(start, name)  # noqa: PTH118 - of a million names
        if os.path.isfile(path):  # noqa: PTH113
            return path
        folder, _, last = os.path.join(start, name.strip().replace("\\", "/")).rpartition("/")  # noqa: PTH118
        return inside(folder).get(last.lower()) or None

    return find


def _in_folder(folder: str) -> dict[str, str]:
    try:
        return _by_name(f"{folder}/{name}" for name in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return {}


def _by_name(paths: Iterable[str]) -> dict[str, str]:
    """Image files by their names in small letters, with and without an ending; "" for a name that several have."""
    found: dict[str, str] = {}
    for path in paths:
        for name in _names(path):
            found[name] = "" if name in found else path
    return found


def _names(path: str) -> tuple[str, ...]:
    """What an image file may be called; nothing for other files."""
    name = path.rpartition("/")[2].lower()
    stem, dot, ending = name.rpartition(".")
    return (name, stem) if dot + ending in SUFFIXES else ()


def _by_start(table: Path, root: Path, names: Sequence[str], find: Find) -> Find | None:
    """What makes paths of files out of names by another start of all of them; None if nothing does."""
    folders = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for name in names:
        parts = _parts(name)
        dropped = [number for number in range(1, len(parts)) if find("/".join(parts[number:]))]
        added = [folder for folder in folders if find("/".join([folder, *parts]))]
        if len(dropped) + len(added) > 1:
            places = ["/".join(parts[number:]) for number in dropped]
            _refuse_several(table, name, root, places + ["/".join([folder, *parts]) for folder in added])
        if dropped:
            number = dropped[0]
            assume(f"{table}: {'/'.join(parts[:number])}/ is dropped from the start of its paths, which are in {root}")
            return lambda name: find("/".join(_parts(name)[number:]))
        if added:
            assume(f"{table}: its paths are in {root / added[0]}")
            return lambda name: find("/".join([added[0], *_parts(name)]))
    return None


def _by_tree(table: Path, root: Path, names: Sequence[str]) -> Find | None:
    """What finds files under a folder by their names alone; None if it has none of them."""
    images = list(map(str, look_under(root)[0]))
    found = _by_name(images)

    def find(name: str) -> str | None:
        path = found.get(name.strip().lower())
        if path == "":
            places = [os.path.relpath(image, root) for image in images if name.strip().lower() in _names(image)]
            _refuse_several(table, name, root, places)
        return path

    places = {path.rpartition("/")[0] for path in map(find, names) if path}
    if not places:
        return None
    more = ", ..." if len(places) > 3 else ""
    assume(f"{table}: its images are found by their names in {', '.join(sorted(places)[:3])}{more}")
    return find


def _refuse_several(table: Path, name: str, root: Path, places: Sequence[str]) -> None:
    raise DataError(
        f"{table}: {name} may be {' or '.join(sorted(places)[:2])} in {root}; set data.root to the folder where the"
        " paths start"
    )


def _folders(name: str) -> list[str]:
    return _parts(name)[:-1]


def _parts(name: str) -> list[str]:
    """The folders and the name of a file, written in any system's way."""
    return [part for part in name.strip().replace("\\", "/").split("/") if part not in ("", ".")]
