"""Built-in sets from files in miniature."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from typing import Any

import numpy as np
import pytest

from labelwise.errors import DataError

RNG = np.random.default_rng(0)


def test_digits(load):
    dataset = load("digits")
    assert dataset.sizes() == {"fit": 900, "select": 100, "test": 797}
    assert dataset.source.pixels.shape == (1797, 8, 8, 1)
    assert dataset.source.pixels.max() == 255
    assert load("digits", channels=3).source.pixels.shape == (1797, 8, 8, 3)
    np.testing.assert_array_equal(dataset.split, load("digits").split)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("place", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("zipped", [True, False])
def test_fashion_mnist_from_idx_files(tmp_path, place, zipped, read):
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    images = {"train": RNG.integers(0, 256, (20, 5, 5)), "t10k": RNG.integers(0, 256, (10, 5, 5))}
    for part, pixels in images.items():
        for kind, array in (("images-idx3", pixels), ("labels-idx1", np.arange(len(pixels)) % 10)):
            data = idx(array)
            name = f"{part}-{kind}-ubyte"
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    samples = read("fashion_mnist", root=str(tmp_path))
    assert samples.classes[9] == "Ankle boot"
    assert samples.part.tolist() == ["train"] * 20 + ["val"] * 10
    np.testing.assert_array_equal(samples.source.pixels[20:, ..., 0], images["t10k"])

    file = folder / ("train-images-idx3-ubyte" + ".gz" * zipped)
    data = idx(images["train"])[:-7]
    file.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(DataError, match="truncated, 493 bytes"):
        read("fashion_mnist", root=str(tmp_path))
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(DataError, match="train-images"):
        read("fashion_mnist", root=str(tmp_path))


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100", "imagenette"])
def test_a_set_that_is_not_there_says_what_was_looked_for(tmp_path, name, read):
    with pytest.raises(DataError, match=f"{name}: not found, looked for .*{tmp_path.name}.*download is off"):
        read(name, root=str(tmp_path), download=False)


def test_cifar_through_torchvision(tmp_path, monkeypatch, read):
    from torchvision.datasets import CIFAR10

    def store(name: str, content: dict[str, Any]) -> str:
        data = pickle.dumps(content)
        (tmp_path / CIFAR10.base_folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batch(name: str, n: int) -> list[str]:
        return [name, store(name, {"data": np.zeros((n, 3072), np.uint8), "labels": [i % 10 for i in range(n)]})]

    (tmp_path / CIFAR10.base_folder).mkdir()
    monkeypatch.setattr(CIFAR10, "train_list", [batch("data_batch_1", 20)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", 10)])
    meta = {"filename": "batches.meta", "key": "label_names"}
    meta["md5"] = store("batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    monkeypatch.setattr(CIFAR10, "meta", meta)
    samples = read("cifar10", root=str(tmp_path), download=False)
    assert samples.source.pixels.shape == (30, 32, 32, 3)
    assert samples.part.tolist() == ["train"] * 20 + ["val"] * 10
    assert samples.classes[3] == "class 3"
    store("test_batch", {"data": "another pickle"})  # not the published one: refused unread
    with pytest.raises(DataError, match="not found, looked for data_batch_1 test_batch"):
        read("cifar10", root=str(tmp_path), download=False)


def test_imagenette_of_any_size(tmp_path, read, draw):
    for part in ("train", "val"):
        for wnid in ("n01440764", "n03888257"):
            draw(tmp_path / "imagenette2-160" / part / wnid / "a.JPEG")
    samples = read("imagenette", root=str(tmp_path), download=False)
    assert samples.classes == ("tench", "parachute")
    assert samples.ids[0] == "train/n01440764/a.JPEG"


def test_other_numbers_of_labels_than_of_images_are_refused(tmp_path, read):
    for part, count in (("train", 20), ("t10k", 10)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(RNG.integers(0, 256, (count, 5, 5))))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(9)))
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: 9 labels for 20 images"):
        read("fashion_mnist", root=str(tmp_path))


def test_a_set_that_is_not_built_in(read):
    with pytest.raises(DataError, match=r"data\.source 'mnist': not a built-in set; the built-in sets are digits"):
        read("mnist", format="builtin")
