"""One .npz file: raw images, packed images, embeddings; damaged and contradicting ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from labelwise.data.dataset import Features, PackedImages
from labelwise.errors import DataError

RNG = np.random.default_rng(0)


def jpegs(n: int, mode: str = "RGB") -> tuple[np.ndarray, np.ndarray]:
    encoded = []
    for _ in range(n):
        buffer = io.BytesIO()
        shape = (8, 8, 3) if mode == "RGB" else (8, 8)
        Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).save(buffer, "JPEG")
        encoded.append(np.frombuffer(buffer.getvalue(), np.uint8))
    return np.concatenate(encoded), np.cumsum([0, *map(len, encoded)]).astype(np.uint32)


@pytest.mark.parametrize("key", ["images", "x", "data"])
@pytest.mark.parametrize("label_key", ["label", "labels", "y"])
def test_raw_images(tmp_path, key, label_key, read, npz):
    pixels = RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
    path = npz(tmp_path / "raw.npz", **{key: pixels, label_key: np.arange(12) % 3, "n_train": 9})
    samples = read(path)
    assert samples.classes == ("0", "1", "2")
    assert samples.part.tolist() == ["train"] * 9 + ["val"] * 3
    np.testing.assert_array_equal(samples.source.pixels[..., 0], pixels)
    assert read(path, channels=3).source.pixels.shape == (12, 5, 4, 3)


def test_raw_colour_images_with_everything(tmp_path, read, npz):
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
def test_packed_images(tmp_path, mode, read, load, npz):
    blob, offset = jpegs(10, mode)
    path = npz(tmp_path / "packed.npz", jpeg=blob, offset=offset, label=np.arange(10) % 2, n_train=8, name=["a", "b"])
    samples = read(path)
    assert isinstance(samples.source, PackedImages)
    assert samples.source.read(3).shape == (8, 8, 3 if mode == "RGB" else 1)
    dataset = load(path, select_share=0.25)
    assert dataset.sizes() == {"fit": 6, "select": 2, "test": 2}
    np.testing.assert_array_equal(dataset.source.read(3), samples.source.read(3))


def test_embeddings(tmp_path, read, load, npz):
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
        ({"images": PIXELS, "label": LABEL, "classes": [1.0, np.nan]}, "classes: a name is NaN, expected text"),
        ({"images": PIXELS, "label": LABEL, "classes": "cat"}, r"classes: expected a list .* of shape \(\)"),
        ({"images": PIXELS, "label": LABEL, "classes": [["cat"], ["dog"]]}, r"classes: .* of shape \(2, 1\)"),
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
def test_bad_npz(tmp_path, arrays, message, read, npz):
    path = npz(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "bad.npz" in str(caught.value)


def test_damaged_npz(tmp_path, read, npz):
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


def test_pickles_are_not_loaded(tmp_path, read):
    np.savez(tmp_path / "p.npz", images=np.array([{"a": 1}], dtype=object), label=[0])
    with pytest.raises(DataError, match="pickled objects"):
        read(tmp_path / "p.npz")


@pytest.mark.realdata
def test_cifar10n_on_images_and_on_features(shared_data, load):
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
def test_first_classes_of_tiny_imagenet(shared_data, load):
    dataset = load(shared_data / "tiny_imagenet32_100.npz", classes=20)
    assert dataset.sizes() == {"fit": 9_000, "select": 1_000, "test": 1_000}
    assert dataset.num_classes == 20
    assert dataset.source.pixels.shape == (11_000, 32, 32, 3)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "count"), [("ucm_multilabel_128", 17), ("ucm_features_lite0", 17), ("nih_cxr64", 14)])
def test_multi_label_files_are_completely_labelled(shared_data, name, count, read):
    samples = read(shared_data / f"{name}.npz")
    assert len(samples.classes) == count and samples.table.categories == samples.classes
    assert samples.table.known.all() and (samples.label == -1).all()
