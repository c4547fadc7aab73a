"""A folder of class folders: ``ROOT/train/CLASS/*.jpg`` and ``ROOT/val/...``, or ``ROOT/CLASS/*`` without a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelwise.config import FolderConfig
from labelwise.data.dataset import ImageFiles, Samples
from labelwise.data.decode import DICOM_SUFFIXES
from labelwise.data.files import PARTS
from labelwise.data.memory import guess_channels
from labelwise.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
SUFFIXES.update(DICOM_SUFFIXES)


def read(config: FolderConfig) -> Samples:
    """Image files by class folder; ids are paths relative to the root. No image is decoded.

    Hidden files and files that are no images are passed over; images may lie in folders inside a class folder.

    Raises
    ------
    DataError
        If the folder is missing or has no class folders, if a class folder has no image, or if a class of another
        part has no folder in the training part.
    """
    root = Path(config.source)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    parts = _parts(root)
    training = [folder for folder, part in parts if part in ("train", "fit", "")]
    classes = sorted({cls.name for folder in training for cls in _folders(folder)})
    if not classes:
        raise DataError(f"{training[0]}: no class folders; expected {root.name}/train/CLASS/image or CLASS/image")
    index = {name: i for i, name in enumerate(classes)}
    paths: list[Path] = []
    label: list[int] = []
    part_of: list[str] = []
    for folder, part in parts:
        for cls in _folders(folder):
            if cls.name not in index:
                raise DataError(f"{cls}: class {cls.name!r} has no folder in {training[0]}")
            images = images_under(cls)
            if not images:
                raise DataError(f"{cls}: empty class, no image in it (read are {' '.join(sorted(SUFFIXES))})")
            paths += images
            label += [index[cls.name]] * len(images)
            part_of += [part] * len(images)
    files = ImageFiles(tuple(paths), 3)
    return Samples(
        name=root.resolve().name,
        classes=tuple(classes),
        ids=np.array([path.relative_to(root).as_posix() for path in paths]),
        label=np.array(label, dtype=np.int64),
        part=np.array(part_of),
        source=ImageFiles(files.paths, guess_channels(files) if config.channels == "auto" else config.channels),
    )


def _parts(root: Path) -> list[tuple[Path, str]]:
    """Folders of the parts, each with what ``Samples.part`` calls it; the root itself where there are none."""
    folders = _folders(root)
    parts = [(folder, PARTS[folder.name.lower()]) for folder in folders if folder.name.lower() in PARTS]
    # "train" and "test" may be classes, too (of vehicles, of procedures); a part is known by its class folders.
    if any(part in ("train", "fit") and _folders(folder) for folder, part in parts):
        return parts
    if parts and len(parts) == len(folders):
        raise DataError(f"{root}: has {', '.join(folder.name for folder, _ in parts)}, but no train/CLASS/ with images")
    return [(root, "")]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def images_under(folder: Path) -> list[Path]:
    """Images in a class folder and the folders inside it, sorted; nothing hidden."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
