"""Tars in the layout of WebDataset: samples by key, labels of every kind, and what is wrong with a tar."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labelwise.config import ViewConfig, load_recipe
from labelwise.config.formats import expand_braces, find_format
from labelwise.data.dataset import JoinedImages
from labelwise.data.loaders import make_loader
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import BatchPlan, InTars
from labelwise.data.stats import dataset_stats
from labelwise.data.tars import TarImages, members, tar_edges
from labelwise.errors import ConfigError, DataError
from labelwise.refinery.chain import make_context
from labelwise.training.runtime import start_runtime


def grey(level: int, side: int = 6, kind: str = "png") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(file, kind)
    return file.getvalue()


def write(path: Path, content: Mapping[str, bytes | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in content.items():
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(numbers: range, ending: str = "cls", labels=None) -> dict[str, bytes | str]:
    content: dict[str, bytes | str] = {}
    for i in numbers:
        content[f"{i:06d}.png"] = grey(i)
        content[f"{i:06d}.{ending}"] = str(i % 2) if labels is None else labels[i]
    return content


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """train/ of two tars and val/ of one, with keys that begin again."""
    for name, numbers in (("train/0.tar", range(8)), ("train/1.tar", range(8, 12)), ("val/0.tar", range(4))):
        write(tmp_path / "set" / name, samples(numbers))
    return tmp_path / "set"


def test_parts_of_tars_by_their_folders(parted, load, read):
    assert find_format(str(parted)) == "webdataset"
    found = read(parted)
    assert found.ids[[0, 11, 12]].tolist() == ["train/000000", "train/000011", "val/000000"]
    assert found.classes == ("0", "1") and (found.label == [0, 1] * 8).all()
    assert found.name == "set"
    dataset = load(parted, memory="no", select_share=0.25)
    assert dataset.sizes() == {"fit": 9, "select": 3, "test": 4}
    for row, name in enumerate(dataset.ids):
        assert (dataset.source.read(row) == int(name.split("/")[1])).all()
    images = dataset_stats(dataset)["images"]
    assert images is not None and images["most_frequent"] == [6, 6] and images["channels"] == 3
    assert load(parted).source.pixels.shape == (16, 6, 6, 3)  # small ones are held in memory


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (["a-train-00.tar", "a-train-01.tar", "a-val-00.tar"], ""),
        (["s-{train,val}-00.tar"], "s-{train,val}-00.tar"),
    ],
)
def test_parts_by_the_names_of_tars(tmp_path, read, names, source):
    for number, name in enumerate(one for each in names for one in expand_braces(each)):
        write(tmp_path / "set" / name, samples(range(4 * number, 4 * number + 4)))
    found = read(tmp_path / "set" / source if source else tmp_path / "set")
    assert set(found.part) == {"train", "val"} and (found.part == "val").sum() == 4


def test_a_range_of_tars(tmp_path, load):
    assert expand_braces("s/{008..010}.tar") == ["s/008.tar", "s/009.tar", "s/010.tar"]
    assert expand_braces("{a,b}{1..2}") == ["a1", "a2", "b1", "b2"]
    for number in range(8, 11):
        write(tmp_path / f"{number:03d}.tar", samples(range(4 * number, 4 * number + 4)))
    source = tmp_path / "{008..010}.tar"
    dataset = load(source, memory="no")
    assert sum(dataset.sizes().values()) == 12
    assert dataset.ids[0] == "000032"  # no part, so the key alone
    with pytest.raises(DataError, match=r"011.tar: no such file \(and 1 more of 5\)"):
        load(tmp_path / "{008..012}.tar")


def test_names_that_no_folder_holds_are_refused(tmp_path, read):
    with pytest.raises(DataError, match=r"stands for 100,000,000,000 files"):
        expand_braces("{0..99999}-{0..999999}.tar")
    with pytest.raises(DataError, match="is not UTF-8; rename it"):
        read(write(tmp_path / "x.tar", {"caf\udce9.png": b"", "caf\udce9.cls": b"1"}))


def test_tars_beside_images_are_not_the_data(folder_tree, tmp_path):
    root = folder_tree(tmp_path / "photos")
    write(root / "photos.tar", samples(range(2)))
    assert find_format(str(root)) == "folder"
    assert find_format(str(root / "photos.tar")) == "webdataset"


@pytest.mark.parametrize(
    ("ending", "labels", "classes", "label"),
    [
        ("cls", ["7", "7\n", "10", "-1"], ("7", "10"), [0, 0, 1, -1]),
        ("cls", ["dog", " cat ", "dog", ""], ("cat", "dog"), [1, 0, 1, -1]),
        ("txt", ["dog", "cat", "dog", "cat"], ("cat", "dog"), [1, 0, 1, 0]),
        ("json", ['{"label": 3}', '{"cls": 4}', '{"label": null}', "3"], ("3", "4"), [0, 1, -1, 0]),
        ("json", ['{"label": "b"}', '{"label": "a"}', "{}", '{"label": "b"}'], ("a", "b"), [1, 0, -1, 1]),
    ],
)
def test_labels_of_every_kind(tmp_path, read, ending, labels, classes, label):
    found = read(write(tmp_path / "x.tar", samples(range(4), ending, labels)))
    assert found.classes == classes and found.label.tolist() == label and found.table is None


def test_lists_are_several_labels(tmp_path, read):
    labels = [json.dumps({"tags": tags}) for tags in (["b", "a"], [], None, ["a", "a"])]
    tar = write(tmp_path / "x.tar", samples(range(4), "json", labels))
    found = read(tar, label_key="tags")
    assert found.classes == ("a", "b") and (found.label == -1).all()
    np.testing.assert_array_equal(found.table.values, [[1, 1], [0, 0], [np.nan] * 2, [1, 0]])
    numbers = [json.dumps({"label": numbers}) for numbers in ([10, 9], [2], [9], [2])]
    assert read(write(tmp_path / "y.tar", samples(range(4), "json", numbers))).classes == ("2", "9", "10")
    assert (read(tar).label == -1).all()  # no key that it knows: no labels
    with pytest.raises(DataError, match=r"no sample has a .json with the key 'tag'"):
        read(tar, label_key="tag")


def test_captions_beside_labels_and_images_alone(tmp_path, read):
    content = samples(range(4)) | {f"{i:06d}.txt": f"a photo {i}" for i in range(4)} | {"000001.seg.png": grey(0)}
    content |= {"README": "none", "._000000.png": "mac"}
    found = read(write(tmp_path / "x.tar", content))
    assert found.classes == ("0", "1") and dict(found.left_out) == {".seg.png": 1, "outside samples": 2}
    assert read(tmp_path / "x.tar", label_member="txt").classes[3] == "a photo 3"
    assert (read(tmp_path / "x.tar", label_member="none").label == -1).all()


def test_what_is_wrong_with_a_sample(tmp_path, read):
    whole = samples(range(2))
    for extra, message in (
        ({"a.cls": "1"}, r"sample 'a' has no image \(.cls\)"),
        ({"a.jpg": grey(0, kind="jpeg"), "a.png": grey(0)}, r"sample 'a' has two images \(.jpg, .png\)"),
        ({"a.png": grey(0), "a.txt": "cat"}, r"labels of different kinds, cls \(000000\) and txt \(a\)"),
        (
            {"a.png": grey(0), "a.json": '{"label": 1.5}'},
            ".json of sample 'a' cannot be read .it says 1.5, expected the name or",
        ),
        ({"a.png": grey(0), "a.json": "{"}, ".json of sample 'a' cannot be read"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            read(write(tmp_path / "x.tar", whole | extra))
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    write(tmp_path / "twice" / "0.tar", whole)
    write(tmp_path / "twice" / "1.tar", whole)
    with pytest.raises(DataError, match=r"1.tar: sample '000000' is in .*0.tar too; a key may be there once"):
        read(tmp_path / "twice")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.png", "b.png", "a.png"):
            info = tarfile.TarInfo(name)
            info.size = len(grey(1))
            tar.addfile(info, io.BytesIO(grey(1)))
    with pytest.raises(DataError, match="two samples have the key 'a'"):
        read(tmp_path / "x.tar")


def test_what_is_wrong_with_a_tar(tmp_path, read):
    tar = write(tmp_path / "x.tar", samples(range(4)))
    content = tar.read_bytes()
    end = max(start + size for _, start, size in members(tar))
    for cut in (end - 3, end // 2, 700, 512 + 512 * 3, 100, 0):
        tar.write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"x.tar: truncated") as caught:
            read(tar)
        assert "\n" not in str(caught.value)
    tar.write_bytes(content[: 1024 * 2] + b"?" * 512 + content[1024 * 2 + 512 :])
    with pytest.raises(DataError, match="truncated or damaged behind byte"):
        read(tar)
    with tarfile.open(tmp_path / "z.tar", "w:gz") as packed:
        packed.add(tmp_path / "x.tar", "a.cls")
    with pytest.raises(DataError, match=r"z.tar: is compressed"):
        read(tmp_path / "z.tar")
    write(tmp_path / "empty" / "0.tar", {})
    with pytest.raises(DataError, match="no sample in it"):
        read(tmp_path / "empty")


def test_images_are_read_at_their_places(tmp_path, load):
    """Also in another process, and after the file has changed under it."""
    tar = write(tmp_path / "x.tar", samples(range(6)))
    dataset = load(tar, memory="no", partial=True)
    views, rows = ViewConfig(), np.arange(6)
    loader = make_loader(dataset, views, torch.device("cpu"), workers=2)
    (batch,) = loader.stream([BatchPlan(rows)], (6,), 0)
    assert (batch.inputs[6].mean((1, 2, 3)) * 255).round().tolist() == [int(name) for name in dataset.ids]
    copy = pickle.loads(pickle.dumps(dataset.source))
    assert (copy.read(3) == dataset.source.read(3)).all() and len(pickle.dumps(dataset.source)) < 2000
    broken = write(tmp_path / "y.tar", samples(range(6)) | {"000003.png": b"not an image"})
    found = load(broken, memory="no", partial=True, unreadable="skip")
    assert len(found) == 5 and found.unreadable[0].startswith(f"000003: {broken}, member at byte")
    broken.write_bytes(b"")
    with pytest.raises(DataError, match="shorter since it was indexed"):
        found.source.read(0)


def test_cuts_between_tars():
    def images(tars: list[int]) -> TarImages:
        n = len(tars)
        paths = tuple(Path(f"{i}") for i in range(max(tars) + 1))
        return TarImages(paths, np.array(tars, dtype=np.int32), np.arange(n), np.ones(n, dtype=np.int64), 3)

    source = images([0, 0, 1, 1, 1, 3])
    assert tar_edges(source, np.arange(6)).tolist() == [0, 2, 5, 6]
    assert tar_edges(source, np.array([1, 4, 5])).tolist() == [0, 1, 2, 3]
    assert tar_edges(source, np.arange(0)).tolist() == [0]
    joined = JoinedImages((source, images([0, 1])), np.arange(8))
    assert tar_edges(joined, np.arange(8)).tolist() == [0, 2, 5, 6, 7, 8]
    assert tar_edges(joined.take(np.array([5, 6])), np.arange(2)).tolist() == [0, 1, 2]


def test_tars_without_labels_for_a_refinery(parted, tmp_path, load):
    more = write(tmp_path / "more.tar", {f"{i}.png": grey(i) for i in range(100, 105)})
    dataset = load(parted, memory="no", unlabelled=str(more))
    assert dataset.sizes()["unlabelled"] == 5
    row = dataset.rows("unlabelled")[2]
    assert dataset.ids[row] == "unlabelled/102" and (dataset.source.read(int(row)) == 102).all()


@pytest.mark.parametrize(
    ("options", "by_tar"),
    [(["data.memory=no"], True), (["data.memory=auto"], False), (["data.memory=no", "data.order=shuffled"], False)],
)
def test_training_reads_tar_by_tar_where_it_is_asked_to(tmp_path, options, by_tar):
    """From the recipe to the rows that are planned; images in memory are shuffled as a whole."""
    for number in range(4):
        write(tmp_path / "set" / f"{number}.tar", samples(range(10 * number, 10 * number + 10)))
    source = [f"data.source={tmp_path / 'set'}", "data.order=tars", "data.window=2", "model.name=small"]
    recipe = load_recipe(None, [*source, *options])
    dataset, runtime = load_dataset(recipe.data), start_runtime(recipe, tmp_path)
    context = make_context(recipe, dataset, runtime, tmp_path, 0, quiet=True)
    fit = dataset.rows("fit")
    rows = context.in_order(fit)
    assert isinstance(rows, InTars) == by_tar
    if isinstance(rows, InTars):
        np.testing.assert_array_equal(rows.tar, [int(name) // 10 for name in dataset.ids[fit]])


def test_the_order_of_tars_is_an_option_of_tars():
    with pytest.raises(ConfigError, match=r"data.order is an option of format webdataset"):
        load_recipe(None, ["data.source=digits", "data.order=tars"])
