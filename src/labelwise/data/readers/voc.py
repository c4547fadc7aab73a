"""Pascal VOC 2007 to 2012, or other data in its layout: the classification task, read as multi-label data.

    ROOT/ImageSets/Main/train.txt              an image a line: 000012
    ROOT/ImageSets/Main/aeroplane_train.txt    the same images: 000012 -1; 1 positive, -1 negative, 0 difficult only
    ROOT/Annotations/000012.xml                the objects of an image
    ROOT/JPEGImages/000012.jpg

ROOT is ``VOCdevkit/VOC2007`` or the like. Format: Everingham et al., *The PASCAL Visual Object Classes (VOC)
Challenge*, 2010, and the development kits' documentation.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from labelwise.config import VocConfig
from labelwise.data.dataset import Samples
from labelwise.data.files import refuse_repeated, same_name
from labelwise.data.notes import assume, tell
from labelwise.data.readers.located import locate
from labelwise.errors import DataError
from labelwise.labels.table import LabelTable
from labelwise.textfile import read_text

CATEGORIES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_SETS = Path("ImageSets", "Main")
_PARTS = {"train": "train", "trainval": "train", "val": "val", "test": "test", "": ""}
Objects = list[tuple[str, bool]]
"""Categories of the objects of an image, each with whether it is difficult."""

_CODES = {"1": 1.0, "-1": 0.0, "0": -1.0}  # of the lists of a category: as LabelTable.from_wire reads them


def read(config: VocConfig) -> Samples:
    """Images with the labels of the classification task, by image set: ``train``, ``val`` and, where it is, ``test``.

    - ``data.source`` is ``VOCdevkit``, a folder that holds it, or the folder of one year. Without ``train.txt``, all of
      ``trainval.txt`` is the part ``train``. Without ``ImageSets/Main``, the images are those of all ``Annotations``,
      and there are no parts. Images lie in ``data.root`` or else in ``JPEGImages``, and may be other than JPEGs.
    - The 20 categories of the challenge, if no list or object names another; otherwise those that are named, sorted.
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
    found = _image_sets(root)
    ids = [image for images in found.values() for image in images]
    refuse_repeated(ids, f"{root / _SETS}: image")
    objects = {name: _all_objects(root, images, name) for name, images in found.items() if not _listed(root, name)}
    categories = _categories(root, list(found), objects)
    parts = (
        _of_objects(objects[name], categories) if name in objects else _of_lists(root, name, images, categories)
        for name, images in found.items()
    )
    folder = root / "JPEGImages" if config.root is None else Path(config.root)
    return Samples(
        name=root.resolve().name,
        classes=categories,
        ids=np.array(ids),
        label=np.full(len(ids), -1, dtype=np.int64),
        part=np.repeat([_PARTS[name] for name in found], [len(images) for images in found.values()]),
        source=locate(root / _SETS, folder, _file_names(folder, ids), config),
        table=LabelTable.from_wire(np.concatenate(list(parts)), categories, name=str(root)),
    )


def years(source: Path) -> list[Path]:
    """Folders of VOC data sets: the source itself, or those of single years in it or in its ``VOCdevkit``."""
    places = [source, *sorted(source.glob("VOC20[0-9][0-9]")), *sorted(source.glob("VOCdevkit/VOC20[0-9][0-9]"))]
    return [place for place in places if (place / _SETS).is_dir()]


def _one_year(source: Path) -> Path:
    found = years(source)
    if not found and next(source.glob("Annotations/*.xml"), None):
        return source
    if not found:
        raise DataError(
            f"{source}: no ImageSets/Main in it, nor in VOC2007, VOC2012 or VOCdevkit/VOC2007, ..., and no Annotations"
        )
    if len(found) > 1:
        raise DataError(f"{source}: holds {' and '.join(path.name for path in found)}; give one of them as data.source")
    return found[0]


def _image_sets(root: Path) -> dict[str, list[str]]:
    """The images of every set; all in one without a name where there are no sets."""
    sets = root / _SETS
    if not sets.is_dir():
        assume(f"{root}: no ImageSets/Main, so the images are all that have Annotations, and there are no parts")
        return {"": sorted(path.stem for path in (root / "Annotations").glob("*.xml"))}
    names = ("train", "val") if (sets / "train.txt").is_file() else ("trainval",)
    found = {name: _image_set(sets / f"{name}.txt") for name in (*names, "test") if (sets / f"{name}.txt").is_file()}
    if names[0] not in found:
        raise DataError(f"{sets}: neither train.txt nor trainval.txt is in it")
    return found


def _categories(root: Path, sets: Sequence[str], objects: Mapping[str, Sequence[Objects]]) -> tuple[str, ...]:
    """The challenge's categories, or those that lists and objects name, if one of them is not among its."""
    named = {category for name in sets for category in _listed(root, name)}
    named.update(category for found in objects.values() for image in found for category, _ in image)
    if named <= set(CATEGORIES):
        return CATEGORIES
    say = tell if named & set(CATEGORIES) else assume  # one that is misspelled, or data of one's own
    say(f"{root}: its {len(named)} categories are those that its labels name, not the 20 of the challenge")
    return tuple(sorted(named))


def _listed(root: Path, name: str) -> list[str]:
    """The categories that have a list for an image set."""
    ending = f"_{name}.txt"
    return [path.name.removesuffix(ending) for path in (root / _SETS).glob(f"?*{ending}")] if name else []


def _file_names(folder: Path, images: Sequence[str]) -> list[str]:
    """JPEGs, unless the first image is none: then the one image of that name."""
    jpegs = [f"{image}.jpg" for image in images]
    others = {path.suffix for path in folder.glob(f"{glob.escape(images[0])}.*")}
    return jpegs if ".jpg" in others or not others else list(images)


def _of_lists(root: Path, name: str, images: Sequence[str], categories: Sequence[str]) -> NDArray[np.float32]:
    """Labels (N, C) of an image set, as :meth:`LabelTable.from_wire` reads them."""
    lists = [root / _SETS / f"{category}_{name}.txt" for category in categories]
    for path in lists:
        if not path.is_file():
            raise DataError(f"{path}: no such file, though other categories have theirs")
    return np.stack([_list(path, images) for path in lists], axis=1)


def _of_objects(found: Sequence[Objects], categories: Sequence[str]) -> NDArray[np.float32]:
    """The same of images with these objects."""
    labels = np.zeros((len(found), len(categories)), dtype=np.float32)
    column = {category: c for c, category in enumerate(categories)}
    for row, objects in enumerate(found):
        for category, difficult in objects:
            place = (row, column[category])
            labels[place] = 1 if not difficult or labels[place] == 1 else -1
    return labels


def _list(path: Path, images: Sequence[str]) -> NDArray[np.float32]:
    """Labels (N,) of one category."""
    words = read_text(path).split()
    if words[::2] == list(images) and set(words[1::2]) <= _CODES.keys() and len(words) == 2 * len(images):
        return np.array([_CODES[code] for code in words[1::2]], dtype=np.float32)  # the list as it is published
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


def _all_objects(root: Path, images: Sequence[str], name: str) -> list[Objects]:
    """The objects of every image of a set."""
    paths = [root / "Annotations" / f"{image}.xml" for image in images]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{path}: no such file, and ImageSets/Main has no list of a category for {name}; remove image sets"
                " without annotations from ImageSets/Main"
            )
    return [_objects(path) for path in paths]


def _objects(path: Path) -> Objects:
    """The objects of an image; ``difficult`` is 1 or 0, or nothing, which is 0."""
    try:
        tree = ElementTree.parse(path).getroot()
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"{path}: truncated or not XML ({error})") from None
    found = []
    for entry in tree.findall("object"):  # not iter(): the parts of a person have names, too
        category = same_name(entry.findtext("name") or "")
        if not category:
            raise DataError(f"{path}: an object has no name")
        difficult = (entry.findtext("difficult") or "0").strip()
        if difficult not in ("0", "1"):
            raise DataError(f"{path}: difficult of object {category!r} is {difficult!r}, expected 0 or 1")
        found.append((category, difficult == "1"))
    return found


def _image_set(path: Path) -> list[str]:
    images = [words[0] for _, words in _lines(path)]
    if not images:
        raise DataError(f"{path}: empty, no image in it")
    return images


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The words of every line that has any, with the line's number."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [(number, words) for number, line in lines if (words := line.split())]
