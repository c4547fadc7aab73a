"""Every format in miniature, and what a reader says when a source is wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from labelwise.config import DataConfig
from labelwise.data.dataset import Dataset, Features, ImageFiles, PackedImages, PixelArray, Samples
from labelwise.data.memory import find_unreadable
from labelwise.data.readers import load_dataset, read_samples
from labelwise.data.stats import dataset_stats, render_stats
from labelwise.errors import DataError

RNG = np.random.default_rng(0)


def config(source: str | Path, **options: Any) -> DataConfig:
    return DataConfig.model_validate({"source": str(source), **options})


def read(source: str | Path, **options: Any) -> Samples:
    return read_samples(config(source, **options))


def load(source: str | Path, **options: Any) -> Dataset:
    return load_dataset(config(source, **options))


def draw(path: Path, mode: str = "RGB", side: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def folder_tree(root: Path, parts: tuple[str, ...] = ("train", "val"), per_class: int = 4, mode: str = "RGB") -> Path:
    for part in parts:
        for cls in ("cat", "dog"):
            for i in range(per_class):
                draw(root / part / cls / f"{i}.png", mode)
    return root


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def jpegs(n: int, mode: str = "RGB") -> tuple[np.ndarray, np.ndarray]:
    encoded = []
    for _ in range(n):
        buffer = io.BytesIO()
        shape = (8, 8, 3) if mode == "RGB" else (8, 8)
        Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).save(buffer, "JPEG")
        encoded.append(np.frombuffer(buffer.getvalue(), np.uint8))
    return np.concatenate(encoded), np.cumsum([0, *map(len, encoded)]).astype(np.uint32)


# --- which reader ---


def test_an_unknown_source_says_what_is_understood(tmp_path):
    with pytest.raises(DataError, match=r"no such folder or file; understood are digits, .*hf:NAME"):
        read(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match="not understood"):
        read(tmp_path / "notes.txt")


# --- folders ---


@pytest.mark.parametrize("val", ["val", "valid", "validation", "test"])
def test_folder_with_parts(tmp_path, val):
    root = folder_tree(tmp_path / "pets", ("train", val))
    draw(root / "train" / "cat" / "deeper" / "9.jpg")
    draw(root / "train" / "cat" / ".hidden.jpg")
    draw(root / "train" / "cat" / ".cache" / "1.jpg")
    draw(root / ".thumbnails" / "1.jpg")
    draw(root / "annotations" / "1.jpg")
    (root / "train" / "cat" / "notes.txt").write_text("")
    samples = read(root)
    assert samples.name == "pets"
    assert samples.classes == ("cat", "dog")
    assert len(samples) == 17
    assert {"train/cat/0.png", f"{val}/dog/3.png"} < set(samples.ids)
    assert "train/cat/deeper/9.jpg" in samples.ids
    assert set(samples.part) == {"train", "test" if val == "test" else "val"}
    assert isinstance(samples.source, ImageFiles)
    assert samples.source.channels == 3


def test_folder_with_train_val_and_test_keeps_all_three(tmp_path):
    dataset = load(folder_tree(tmp_path, ("train", "val", "test")))
    assert dataset.sizes() == {"fit": 8, "select": 8, "test": 8}
    assert isinstance(dataset.source, PixelArray)
    assert {str(i).split("/")[0] for i in dataset.ids[dataset.rows("select")]} == {"val"}


def test_folder_without_parts_and_grey(tmp_path):
    folder_tree(tmp_path, ("",), mode="L")
    samples = read(tmp_path)
    assert set(samples.part) == {""}
    assert samples.source.channels == 1
    assert read(tmp_path, channels=3).source.channels == 3


def test_classes_may_be_called_train_and_test(tmp_path):
    for name in ("bus", "train", "test"):
        draw(tmp_path / name / "0.png")
    assert read(tmp_path).classes == ("bus", "test", "train")


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "none", format="folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        read(tmp_path / "empty")
    root = folder_tree(tmp_path / "a")
    (root / "train" / "bird").mkdir()
    with pytest.raises(DataError, match=r"train/bird: empty class"):
        read(root)
    root = folder_tree(tmp_path / "b")
    draw(root / "val" / "bird" / "0.png")
    with pytest.raises(DataError, match=r"class 'bird' has no folder in .*train"):
        read(root)
    with pytest.raises(DataError, match="has val, but no train"):
        read(folder_tree(tmp_path / "c", ("val",)))


def test_a_truncated_image_fails_or_is_skipped_and_listed(tmp_path):
    root = folder_tree(tmp_path)
    broken = root / "train" / "dog" / "2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=r"train/dog/2\.png: cannot be read"):
        load(root)
    dataset = load(root, memory="no", select_share=0.25)
    row = dataset.ids.tolist().index("train/dog/2.png")
    with pytest.raises(DataError, match=r"2\.png"):
        dataset.source.read(row)
    assert dataset_stats(dataset)["unreadable"][0].startswith("train/dog/2.png: ")

    dataset = load(root, unreadable="skip", select_share=0.25)
    assert "train/dog/2.png" not in dataset.ids
    assert len(dataset) == 15
    assert len(dataset.unreadable) == 1
    assert dataset.unreadable[0].startswith("train/dog/2.png: ")
    assert [row for row, _ in find_unreadable(read(root), 2)] == [6]


# --- npz ---


@pytest.mark.parametrize("key", ["images", "x", "data"])
@pytest.mark.parametrize("label_key", ["label", "labels", "y"])
def test_raw_images(tmp_path, key, label_key):
    pixels = RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
    path = npz(tmp_path / "raw.npz", **{key: pixels, label_key: np.arange(12) % 3, "n_train": 9})
    samples = read(path)
    assert samples.classes == ("0", "1", "2")
    assert samples.part.tolist() == ["train"] * 9 + ["val"] * 3
    np.testing.assert_array_equal(samples.source.pixels[..., 0], pixels)
    assert read(path, channels=3).source.pixels.shape == (12, 5, 4, 3)


def test_raw_colour_images_with_everything(tmp_path):
    path = npz(
        tmp_path / "raw.npz",
        images=RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8),
        label=["b", "a", "b", "a"],
        classes=["a", "b", "c"],
        split=[0, 1, 2, 0],
        ids=["w", "x", "y", "z"],
        groups=[1, 1, 2, 3],
    )
    samples = read(path)
    assert samples.label.tolist() == [1, 0, 1, 0]
    assert samples.classes == ("a", "b", "c")
    assert samples.part.tolist() == ["fit", "select", "test", "fit"]
    assert samples.ids.tolist() == ["w", "x", "y", "z"]
    assert samples.groups.tolist() == ["1", "1", "2", "3"]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_packed_images(tmp_path, mode):
    blob, offset = jpegs(10, mode)
    path = npz(tmp_path / "packed.npz", jpeg=blob, offset=offset, label=np.arange(10) % 2, n_train=8, name=["a", "b"])
    samples = read(path)
    assert isinstance(samples.source, PackedImages)
    assert samples.source.read(3).shape == (8, 8, 3 if mode == "RGB" else 1)
    dataset = load(path, select_share=0.25)
    assert dataset.sizes() == {"fit": 6, "select": 2, "test": 2}
    np.testing.assert_array_equal(dataset.source.read(3), samples.source.read(3))


def test_embeddings(tmp_path):
    features = RNG.normal(size=(10, 4)).astype(np.float16)
    path = npz(tmp_path / "f.npz", features=features, label=np.arange(10) % 2, split=["fit"] * 8 + ["test"] * 2)
    for form in ("auto", "embeddings"):
        samples = read(path, format=form)
        assert isinstance(samples.source, Features)
        assert samples.source.values.dtype == np.float32
    assert load(path, select_share=0.25).sizes() == {"fit": 6, "select": 2, "test": 2}


PIXELS = np.zeros((4, 3, 3), dtype=np.uint8)
LABEL = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": LABEL}, "no images: expected images or .* it has label"),
        ({"images": PIXELS}, "no labels: expected label or labels or y"),
        ({"images": PIXELS / 255, "label": LABEL}, "images is float64, expected uint8"),
        ({"images": PIXELS[..., None, None], "label": LABEL}, r"images has shape \(4, 3, 3, 1, 1\)"),
        ({"images": np.zeros((4, 3, 8, 8), np.uint8), "label": LABEL}, "channels last"),
        ({"images": PIXELS, "label": LABEL[:3]}, r"label has shape \(3,\), expected \(4,\)"),
        ({"images": PIXELS, "label": np.eye(4)[..., None]}, r"shape is \(4, 4, 1\)"),
        (
            {"images": PIXELS, "label": [0, 1, 0, 2], "classes": ["a", "b"]},
            "label 2 of row 3 is out of range: 2 classes",
        ),
        ({"images": PIXELS, "label": [0, -2, 0, 1]}, "label -2 of row 1 is out of range"),
        ({"images": PIXELS, "label": [0, 0.5, 0, 1]}, "label 0.5 of row 1 is not a whole number"),
        (
            {"images": PIXELS, "label": ["a", "b", "x", "a"], "classes": ["a", "b"]},
            "label x of row 2 is not a class: a, b",
        ),
        ({"images": PIXELS, "label": LABEL, "split": ["fit", "fit", "holdout", "test"]}, "row 2 says holdout"),
        ({"images": PIXELS, "label": LABEL, "split": [0, 1, 2, 3]}, "row 3 says 3"),
        ({"images": PIXELS, "label": LABEL, "split": [0, 1]}, r"split has shape \(2,\)"),
        ({"images": PIXELS, "label": LABEL, "n_train": 9}, "n_train must be one integer from 1 to 4"),
        ({"images": PIXELS, "label": LABEL, "ids": ["a"]}, r"ids has shape \(1,\)"),
        ({"jpeg": PIXELS.ravel(), "label": LABEL}, "expected offset"),
        ({"jpeg": PIXELS.ravel(), "offset": [0, 5, 3, 6, 9], "label": LABEL}, "offset must rise"),
        ({"jpeg": PIXELS.ravel(), "offset": [0, 5, 6, 7, 99], "label": LABEL}, "36 bytes"),
        ({"features": np.zeros((4, 2, 2)), "label": LABEL}, r"features is float64 of shape \(4, 2, 2\)"),
        ({"features": [[0.0], [1], [np.nan], [np.inf]], "label": LABEL}, r"row 2 are NaN or infinite \(and 1 more"),
        ({"features": np.zeros((4, 2)), "label": [0, 0, 0, 5], "classes": ["a", "b"]}, "label 5 of row 3"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    path = npz(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "bad.npz" in str(caught.value)


def test_damaged_npz(tmp_path):
    path = npz(tmp_path / "a.npz", images=RNG.integers(0, 256, (50, 8, 8), dtype=np.uint8), label=np.zeros(50, int))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.npz: truncated or not an \.npz"):
        read(path)
    path.write_bytes(data[:1000] + bytes(500) + data[1500:])
    with pytest.raises(DataError, match=r"a\.npz: damaged"):
        read(path)
    path.write_bytes(b"not a zip file")
    with pytest.raises(DataError, match="truncated or not"):
        read(path)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.npz")


def test_pickles_are_not_loaded(tmp_path):
    np.savez(tmp_path / "p.npz", images=np.array([{"a": 1}], dtype=object), label=[0])
    with pytest.raises(DataError, match="pickled objects"):
        read(tmp_path / "p.npz")


# --- tables ---


def manifest(root: Path, suffix: str = ".csv", **columns: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    names = [draw(root / "img" / f"{i}.png").relative_to(root).as_posix() for i in range(6)]
    default = {"path": names, "label": ["cat", "dog"] * 3, "split": ["train"] * 4 + ["test"] * 2}
    frame = pd.DataFrame({name: values for name, values in (default | columns).items() if values is not None})
    path = root / f"list{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifest(tmp_path, suffix):
    samples = read(manifest(tmp_path, suffix))
    assert samples.classes == ("cat", "dog")
    assert samples.label.tolist() == [0, 1] * 3
    assert samples.part.tolist() == ["train"] * 4 + ["test"] * 2
    assert samples.ids[2] == "img/2.png"
    assert samples.source.read(2).shape == (6, 6, 3)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifest_with_integers_root_groups_and_other_names(tmp_path, suffix):
    path = manifest(
        tmp_path / "images", suffix, path=None, split=None, label=None,
        file=[f"{i}.png" for i in range(6)], y=[0, 2, 1, 0, 1, 2], fold=["fit", "fit", "select", "fit", "test", "test"],
        patient=[7, 7, 8, 9, None, None],
    )  # fmt: skip
    path = path.rename(tmp_path / path.name)
    options = {"image_column": "file", "label_column": "y", "split_column": "fold", "group_column": "patient"}
    samples = read(path, root=str(tmp_path / "images" / "img"), **options)
    assert samples.label.tolist() == [0, 2, 1, 0, 1, 2]
    assert samples.classes == ("0", "1", "2")
    assert samples.part.tolist() == ["fit", "fit", "select", "fit", "test", "test"]
    assert samples.groups[0] == samples.groups[1] != samples.groups[2]
    assert samples.groups.tolist()[4:] == ["4.png", "5.png"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_blank_labels_are_unlabelled_and_odd_names_are_names(tmp_path, suffix):
    numbers = pd.array([0, 1, None, 0, 1, 1], dtype="Int64")
    assert read(manifest(tmp_path, suffix, label=numbers)).label.tolist() == [0, 1, -1, 0, 1, 1]
    assert read(manifest(tmp_path, suffix, label=["NA", "b", None, "NA", "b", "b"])).classes == ("NA", "b")
    assert read(manifest(tmp_path, suffix, label=["007", "1"] * 3)).classes == ("007", "1")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"image_column": "file"}, r"no column 'file' \(data.image_column\); it has path, label, split"),
        ({}, {"label_column": "y"}, "no column 'y'"),
        ({}, {"split_column": "fold"}, "no column 'fold'"),
        ({}, {"group_column": "patient"}, "no column 'patient'"),
        ({"path": ["img/0.png"] * 2 + [f"img/{i}.png" for i in range(4)]}, {}, "img/0.png is listed 3 times"),
        (
            {"path": ["img/0.png", "img/9.png", "img/8.png", "img/1.png", "img/2.png", "img/3.png"]},
            {},
            r"9.png is .*1 more",
        ),
        ({"path": ["img/0.png", ""] + [f"img/{i}.png" for i in range(2, 6)]}, {}, "row 1 has no path"),
        ({"split": ["train"] * 5 + ["later"]}, {}, "row 5 says later"),
        ({"label": [0, 1, -3, 0, 1, 1]}, {}, "label -3 of row 2 is out of range"),
    ],
)
def test_bad_manifest(tmp_path, columns, options, message):
    with pytest.raises(DataError, match=message):
        read(manifest(tmp_path, **columns), **options)


def test_damaged_tables(tmp_path):
    for name in ("a.csv", "a.parquet"):
        (tmp_path / name).write_bytes(b'"\xff\xfe\n1,2\n1,2,3\n')
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            read(tmp_path / name)
    (tmp_path / "a.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="no rows"):
        read(tmp_path / "a.csv")
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "b.csv")


def test_a_listed_image_that_is_missing_can_be_skipped(tmp_path):
    path = manifest(tmp_path, split=None)
    (tmp_path / "img" / "3.png").unlink()
    with pytest.raises(DataError, match=r"3\.png is listed but not there"):
        load(path)
    dataset = load(path, unreadable="skip", select_share=0, test_share=0.2)
    assert len(dataset) == 5
    assert "3.png: no such image" in dataset.unreadable[0]


# --- built-in sets ---


def test_digits():
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
def test_fashion_mnist_from_idx_files(tmp_path, place, zipped):
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
def test_a_set_that_is_not_there_says_what_was_looked_for(tmp_path, name):
    with pytest.raises(DataError, match=f"{name}: not found, looked for .*{tmp_path.name}.*download is off"):
        read(name, root=str(tmp_path), download=False)


def test_cifar_through_torchvision(tmp_path, monkeypatch):
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


def test_imagenette_of_any_size(tmp_path):
    for part in ("train", "val"):
        for wnid in ("n01440764", "n03888257"):
            draw(tmp_path / "imagenette2-160" / part / wnid / "a.JPEG")
    samples = read("imagenette", root=str(tmp_path), download=False)
    assert samples.classes == ("tench", "parachute")
    assert samples.ids[0] == "train/n01440764/a.JPEG"


# --- Hugging Face ---


def test_hf_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'labelwise\[hf\]'"):
        read("hf:beans")


class FakeRows:
    """As much of ``datasets.Dataset`` as the reader uses."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns
        self.features = dict.fromkeys(columns) | {"label": types.SimpleNamespace(names=["a", "b"])}

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def cast_column(self, name: str, kind: Any) -> FakeRows:
        return self


def test_hf_images_stay_encoded(tmp_path, monkeypatch):
    png = draw(tmp_path / "a.png")
    entries = [{"bytes": png.read_bytes(), "path": None}, {"bytes": None, "path": str(png)}]
    splits = {"train": FakeRows({"img": entries, "label": [0, 1]}), "test": FakeRows({"img": entries, "label": [1, 0]})}
    asked = []

    def load_dataset(name: str, subset: str | None) -> dict[str, FakeRows]:
        asked.append((name, subset))
        return splits

    fake = types.SimpleNamespace(load_dataset=load_dataset, Image=lambda decode: None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    samples = read("hf:user/pets:small")
    assert asked == [("user/pets", "small")]
    assert samples.ids.tolist() == ["train/0", "train/1", "test/0", "test/1"]
    assert samples.classes == ("a", "b")
    assert samples.part.tolist() == ["train", "train", "test", "test"]
    for row in range(4):
        np.testing.assert_array_equal(samples.source.read(row), np.asarray(Image.open(png)))
    with pytest.raises(DataError, match="no column photo; it has img, label"):
        read("hf:user/pets", image_column="photo")


# --- stats ---


def test_stats(tmp_path):
    root = folder_tree(tmp_path)
    draw(root / "train" / "cat" / "wide.png", side=9)
    dataset = load(root, select_share=0.25, noise={"rate": 0.5})
    stats = dataset_stats(dataset)
    assert stats["splits"] == dataset.sizes()
    assert sum(row["fit"] for row in stats["classes"]) == stats["splits"]["fit"]
    assert stats["images"] == {
        **{"height": [6, 9], "width": [6, 9], "most_frequent": [6, 6]},
        **{"sizes": 2, "channels": 3},
    }
    assert stats["label_differs"]["test"] == {"samples": 0, "share": 0.0}
    assert stats["label_differs"]["fit"]["samples"] + stats["label_differs"]["select"]["samples"] == round(0.5 * 9)
    console = Console(file=io.StringIO(), width=100)
    console.print(render_stats(stats))
    assert "most often 6 x 6" in console.file.getvalue()


def test_stats_of_features(tmp_path):
    path = npz(
        tmp_path / "f.npz", features=RNG.normal(size=(10, 4)), label=np.arange(10) % 2, groups=np.arange(10) // 2
    )
    stats = dataset_stats(load(path, select_share=0.25, test_share=0.2))
    assert (stats["kind"], stats["dimension"], stats["images"]) == ("features", 4, None)
    assert stats["groups"] == {"number": 5, "largest": 2, "single": False}
    assert stats["label_differs"] is None


# --- real data ---


@pytest.mark.realdata
def test_cifar10n_on_images_and_on_features(shared_data):
    labels = {"file": str(shared_data / "cifar10n.npz"), "column": "worse_label"}
    images = load(shared_data / "cifar10_jpeg.npz", labels=labels, memory="no")
    features = load(shared_data / "cifar10_features_lite0_pca128.npz", labels=labels)
    for dataset in (images, features):
        assert dataset.sizes() == {"fit": 45_000, "select": 5_000, "test": 10_000}
        wrong = dataset.label != dataset.true_label
        assert abs(wrong[dataset.split != "test"].mean() - 0.402) < 0.001
        assert not wrong[dataset.split == "test"].any()
    np.testing.assert_array_equal(images.split, features.split)
    np.testing.assert_array_equal(images.label, features.label)


@pytest.mark.realdata
def test_first_classes_of_tiny_imagenet(shared_data):
    dataset = load(shared_data / "tiny_imagenet32_100.npz", classes=20)
    assert dataset.sizes() == {"fit": 9_000, "select": 1_000, "test": 1_000}
    assert dataset.num_classes == 20
    assert dataset.source.pixels.shape == (11_000, 32, 32, 3)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["ucm_multilabel_128", "ucm_features_lite0", "nih_cxr64"])
def test_multi_label_files_are_refused(shared_data, name):
    with pytest.raises(DataError, match="multi-label"):
        load(shared_data / f"{name}.npz")
