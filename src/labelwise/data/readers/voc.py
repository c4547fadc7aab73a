"""Pascal VOC 2007 to 2012: the classification task of 20 categories, read as multi-label data.

    ROOT/ImageSets/Main/train.txt              an image a line: 000012
    ROOT/ImageSets/Main/aeroplane_train.txt    the same images: 000012 -1; 1 positive, -1 negative, 0 difficult only
    ROOT/Annotations/000012.xml                the objects of an image
    ROOT/JPEGImages/000012.jpg

ROOT is ``VOCdevkit/VOC2007`` or the like. Format: Everingham et al., *The PASCAL Visual Object Classes (VOC)
Challenge*, 2010, and the development kits' documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from labelwise.config import VocConfig
from labelwise.data.dataset import Samples
from labelwise.data.files import refuse_repeated
from labelwise.data.readers.located import image_files
from labelwise.errors import DataError
from labelwise.labels.table import LabelTable
from labelwise.textfile import read_text

CATEGORIES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_PARTS = {"train": "train", "trainval": "train", "val": "val", "test": "test"}
_CODES = {"1": 1.0, "-1": 0.0, "0": -1.0}  # of the lists of a category: as LabelTable.from_wire reads them


def read(config: VocConfig) -> Samples:
    """Images with the labels of the classification task, by image set: ``train``, ``val`` and, where it is, ``test``.

    - ``data.source`` is ``VOCdevkit``, a folder that holds it, or the folder of one year. Without ``train.txt``, all of
      ``trainval.txt`` is the part ``train``. Images lie in ``data.root`` or else in ``JPEGImages``.
    - Labels come from the lists of every category and image set, and where an image set has none of these lists, from
      ``Annotations``. They are complete, but a category of which an image shows difficult objects only is *uncertain*:
      the challenge scores it neither as positive nor as negative.
    - ids are the names that the lists use, such as 000012. The format has no groups.

    Raises
    ------
    DataError
        Naming the file and the image: no or several years, an image set that is missing or empty, an image twice, a
        list or annotation that is missing, damaged, or names other images, codes or categories, an image that is not
        there (unless ``unreadable: skip``).
    """
    root = _one_year(Path(config.source))
    sets = root / "ImageSets" / "Main"
    names = ("train", "val") if (sets / "train.txt").is_file() else ("trainval",)
    found = {name: _image_set(sets / f"{name}.txt") for name in (*names, "test") if (sets / f"{name}.txt").is_file()}
    if names[0] not in found:
        raise DataError(f"{sets}: neither train.txt nor trainval.txt is in it")
    ids = [image for images in found.values() for image in images]
    refuse_repeated(ids, f"{sets}: image")
    labels = np.concatenate([_labels(root, name, images) for name, images in found.items()])
    folder = root / "JPEGImages" if config.root is None else Path(config.root)
    return Samples(
        name=root.resolve().name,
        classes=CATEGORIES,
        ids=np.array(ids),
        label=np.full(len(ids), -1, dtype=np.int64),
        part=np.repeat([_PARTS[name] for name in found], [len(images) for images in found.values()]),
        source=image_files(sets, [folder / f"{image}.jpg" for image in ids], config),
        table=LabelTable.from_wire(labels, CATEGORIES, name=str(root)),
    )


def years(source: Path) -> list[Path]:
    """Folders of VOC data sets: the source itself, or those of single years in it or in its ``VOCdevkit``."""
    places = [source, *sorted(source.glob("VOC20[0-9][0-9]")), *sorted(source.glob("VOCdevkit/VOC20[0-9][0-9]"))]
    return [place for place in places if (place / "ImageSets" / "Main").is_dir()]


def _one_year(source: Path) -> Path:
    found = years(source)
    if not found:
        raise DataError(f"{source}: no ImageSets/Main in it, nor in VOC2007, VOC2012 or VOCdevkit/VOC2007, ...")
    if len(found) > 1:
        raise DataError(f"{source}: holds {' and '.join(path.name for path in found)}; give one of them as data.source")
    return found[0]


def _labels(root: Path, name: str, images: Sequence[str]) -> NDArray[np.float32]:
    """Labels (N, 20) of an image set, as :meth:`LabelTable.from_wire` reads them."""
    lists = [root / "ImageSets" / "Main" / f"{category}_{name}.txt" for category in CATEGORIES]
    there = [path.is_file() for path in lists]
    if all(there):
        return np.stack([_list(path, images) for path in lists], axis=1)
    if any(there):
        raise DataError(f"{lists[there.index(False)]}: no such file, though other categories have theirs")
    return np.stack([_objects(root / "Annotations" / f"{image}.xml", name) for image in images])


def _list(path: Path, images: Sequence[str]) -> NDArray[np.float32]:
    """Labels (N,) of one category."""
    codes: dict[str, float] = {}
    place = set(images)
    for number, words in _lines(path):
        if len(words) != 2 or words[1] not in _CODES:
            raise DataError(f"{path}: line {number}: expected an image and 1, -1 or 0, found {' '.join(words)!r}")
        if words[0] not in place:
            raise DataError(f"{path}: line {number}: image {words[0]!r} is not in the image set")
        if words[0] in codes:
            raise DataError(f"{path}: line {number}: image {words[0]!r} is listed twice")
        codes[words[0]] = _CODES[words[1]]
    for image in images:
        if image not in codes:
            raise DataError(f"{path}: image {image!r} of the image set is missing")
    return np.array([codes[image] for image in images], dtype=np.float32)


def _objects(path: Path, name: str) -> NDArray[np.float32]:
    """Labels (20,) of one image from its objects; an object says ``difficult`` 1 or 0, or nothing, which is 0."""
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, and ImageSets/Main has no list of a category for {name}; remove image sets"
            " without annotations from ImageSets/Main"
        )
    try:
        tree = ElementTree.parse(path).getroot()
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"{path}: truncated or not XML ({error})") from None
    labels = np.zeros(len(CATEGORIES), dtype=np.float32)
    for entry in tree.findall("object"):  # not iter(): the parts of a person have names, too
        category = (entry.findtext("name") or "").strip()
        if category not in CATEGORIES:
            raise DataError(f"{path}: object {category!r} is not one of the 20 categories")
        difficult = (entry.findtext("difficult") or "0").strip()
        if difficult not in ("0", "1"):
            raise DataError(f"{path}: difficult of object {category!r} is {difficult!r}, expected 0 or 1")
        column = CATEGORIES.index(category)
        if difficult == "0":
            labels[column] = 1
        elif labels[column] == 0:
            labels[column] = -1
    return labels


def _image_set(path: Path) -> list[str]:
    images = [words[0] for _, words in _lines(path)]
    if not images:
        raise DataError(f"{path}: empty, no image in it")
    return images


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The words of every line that has any, with the line's number."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [(number, words) for number, line in lines if (words := line.split())]
