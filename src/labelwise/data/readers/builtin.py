"""Well-known data sets: digits (in scikit-learn), Fashion-MNIST, CIFAR-10, CIFAR-100 and Imagenette (torchvision).

The last four are looked for under ``data.root`` (default: labelwise's folder in the user's cache) and downloaded there
if they are missing and ``data.download`` allows it.
"""

from __future__ import annotations

import dataclasses
import gzip
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.config import BuiltinConfig, FolderConfig
from labelwise.config.formats import BUILTIN
from labelwise.data.dataset import PixelArray, Samples, sample_keys
from labelwise.data.memory import with_channels
from labelwise.data.readers import folder
from labelwise.errors import DataError

_DIGITS_TRAIN = 1000
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_IMAGENETTE = {"imagenette2-320": "320px", "imagenette2-160": "160px", "imagenette2": "full"}


def read(config: BuiltinConfig) -> Samples:
    """A built-in set with its own train and test parts, in its published order.

    Raises
    ------
    DataError
        If it is neither under the root nor can be downloaded: which files were looked for, and where.
    """
    if config.source not in BUILTIN:
        raise DataError(
            f"data.source {config.source!r}: not a built-in set; the built-in sets are {', '.join(BUILTIN)}"
        )
    root = _cache() if config.root is None else Path(config.root)
    match config.source:
        case "digits":
            return _digits(config)
        case "fashion_mnist":
            return _fashion_mnist(root, config)
        case "imagenette":
            return _imagenette(root, config)
        case _:
            return _cifar(root, config)


def _digits(config: BuiltinConfig) -> Samples:
    """1,797 grey images of 8 x 8, 0..16 scaled to 0..255. It has no split: the 1,000 with the smallest hash train."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    n = len(pixels)
    rank = np.argsort(np.argsort(sample_keys([f"digits/{row}" for row in range(n)])))
    part = np.where(rank < _DIGITS_TRAIN, "train", "val")
    classes = tuple(str(digit) for digit in range(10))
    return _in_memory(config, classes, pixels, digits.target, part)


def _fashion_mnist(root: Path, config: BuiltinConfig) -> Samples:
    """Four IDX files, plain or gzipped, in ``root`` itself or where torchvision keeps them."""
    folders = (root, root / "FashionMNIST" / "raw")
    files = _find_idx(folders)
    if files is None:
        looked_for = f"{' '.join(_IDX)} (or .gz) in {folders[0]} and {folders[1]}"
        from torchvision.datasets import FashionMNIST

        _fetch(config, looked_for, lambda download: FashionMNIST(root, download=download))
        files = _find_idx(folders)
        if files is None:
            raise DataError(f"fashion_mnist: downloaded, but not found: {looked_for}")
    arrays = [_read_idx(file, dimensions) for file, dimensions in zip(files, (3, 1, 3, 1), strict=True)]
    for images, labels, file in ((arrays[0], arrays[1], files[1]), (arrays[2], arrays[3], files[3])):
        if len(images) != len(labels):
            raise DataError(f"{file}: {len(labels)} labels for {len(images)} images")
    part = np.repeat(["train", "val"], [len(arrays[1]), len(arrays[3])])
    pixels, label = np.concatenate([arrays[0], arrays[2]])[..., None], np.concatenate([arrays[1], arrays[3]])
    return _in_memory(config, _CLOTHES, pixels, label, part)


def _cifar(root: Path, config: BuiltinConfig) -> Samples:
    """CIFAR's archives are pickles; torchvision checks each one's published MD5 before it loads it."""
    from torchvision import datasets

    kind = datasets.CIFAR10 if config.source == "cifar10" else datasets.CIFAR100
    names = [name for name, _ in [*kind.train_list, *kind.test_list]]
    looked_for = f"{' '.join(names)} in {root / kind.base_folder}"
    train = _fetch(config, looked_for, lambda download: kind(root, train=True, download=download))
    test = kind(root, train=False)
    part = np.repeat(["train", "val"], [len(train), len(test)])
    label = np.array([*train.targets, *test.targets])
    return _in_memory(config, tuple(train.classes), np.concatenate([train.data, test.data]), label, part)


def _imagenette(root: Path, config: BuiltinConfig) -> Samples:
    """Whichever size is there; 320 px is what would be downloaded."""
    from torchvision.datasets import Imagenette

    name = next((name for name in _IMAGENETTE if (root / name).is_dir()), "imagenette2-320")
    looked_for = f"{' or '.join(_IMAGENETTE)} in {root}"
    found = _fetch(config, looked_for, lambda download: Imagenette(root, size=_IMAGENETTE[name], download=download))
    samples = folder.read(FolderConfig(source=str(root / name), channels=config.channels))
    names = dict(zip(found.wnids, found.classes, strict=True))  # a class is a tuple of synonyms
    return dataclasses.replace(samples, name="imagenette", classes=tuple(names[wnid][0] for wnid in samples.classes))


def _in_memory(
    config: BuiltinConfig, classes: tuple[str, ...], pixels: NDArray[np.uint8], label: Any, part: NDArray[np.str_]
) -> Samples:
    return Samples(
        name=config.source,
        classes=classes,
        ids=np.array([str(row) for row in range(len(pixels))]),
        label=np.asarray(label).astype(np.int64),
        part=part,
        source=PixelArray(with_channels(pixels, config.channels)),
    )


def _fetch(config: BuiltinConfig, looked_for: str, make: Callable[[bool], Any]) -> Any:
    """What ``make`` finds under the root, or downloads where that is allowed and possible."""
    try:
        return make(False)
    except (RuntimeError, OSError) as error:
        reason = str(error)
    if config.download:
        try:
            return make(True)
        except (RuntimeError, OSError) as error:  # URLError is an OSError
            reason = f"the download failed: {error}"
    else:
        reason = "data.download is off"
    raise DataError(
        f"{config.source}: not found, looked for {looked_for}; {' '.join(reason.split())}."
        " Put the files there or set data.root"
    )


def _find_idx(folders: tuple[Path, ...]) -> list[Path] | None:
    for place in folders:
        files = [next((f for f in (place / name, place / f"{name}.gz") if f.is_file()), None) for name in _IDX]
        found = [file for file in files if file is not None]
        if len(found) == len(_IDX):
            return found
    return None


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of bytes: 0 0 8 D, D big-endian lengths, the data (torchvision reads it only unpacked)."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{path}: not an IDX file of {dimensions}-dimensional bytes")
    shape = np.frombuffer(data, ">i4", count=dimensions, offset=4).tolist()
    if math.prod(shape) != len(data) - start:
        raise DataError(f"{path}: truncated, {len(data) - start} bytes of data where {shape} need {math.prod(shape)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labelwise"
