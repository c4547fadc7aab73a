"""A folder of class folders, and what its reader says when it is none."""

from __future__ import annotations

import os
import sys

import pytest

from labelwise.data.dataset import ImageFiles, PixelArray
from labelwise.data.memory import find_unreadable
from labelwise.data.notes import assumptions
from labelwise.data.stats import dataset_stats
from labelwise.errors import DataError


@pytest.mark.parametrize("val", ["val", "valid", "validation", "test"])
def test_folder_with_parts(tmp_path, val, read, draw, folder_tree):
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


def test_folder_with_train_val_and_test_keeps_all_three(tmp_path, load, folder_tree):
    dataset = load(folder_tree(tmp_path, ("train", "val", "test")))
    assert dataset.sizes() == {"fit": 8, "select": 8, "test": 8}
    assert isinstance(dataset.source, PixelArray)
    assert {str(i).split("/")[0] for i in dataset.ids[dataset.rows("select")]} == {"val"}


def test_folder_without_parts_and_grey(tmp_path, read, folder_tree):
    folder_tree(tmp_path, ("",), mode="L")
    samples = read(tmp_path)
    assert set(samples.part) == {""}
    assert samples.source.channels == 1
    assert read(tmp_path, channels=3).source.channels == 3


def test_classes_may_be_called_train_and_test(tmp_path, read, draw):
    for name in ("bus", "train", "test"):
        draw(tmp_path / name / "0.png")
    assert read(tmp_path).classes == ("bus", "test", "train")


def test_bad_folders(tmp_path, read, load, draw, folder_tree):
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
    with pytest.raises(DataError, match=r"empty class 'bird': no sample to learn it from; leave it out, or add some"):
        load(root)
    with assumptions() as assumed:
        assert load(root, partial=True).classes == ("bird", "cat", "dog")
    assert f"{root / 'val' / 'bird'}: no folder of this class is in {root / 'train'}, so no netw" in " ".join(assumed)
    (root / "val" / "bird" / "0.png").unlink()
    assert load(root).classes == ("cat", "dog")
    with pytest.raises(DataError, match="has val, but no train"):
        load(folder_tree(tmp_path / "c", ("val",)))
    assert load(tmp_path / "c", partial=True).sizes() == {"fit": 0, "select": 0, "test": 8}


def test_a_truncated_image_fails_or_is_skipped_and_listed(tmp_path, read, load, folder_tree):
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


def test_composed_and_decomposed_names_are_one_class(tmp_path, read, draw):
    for part, name in (("train", "caf\u00e9"), ("val", "cafe\u0301"), ("train", "dog"), ("val", "dog")):
        draw(tmp_path / part / name / "0.png")
    samples = read(tmp_path)
    assert samples.classes == ("caf\u00e9", "dog") and sorted(samples.label.tolist()) == [0, 0, 1, 1]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes UTF-8 alone")
def test_a_name_that_is_not_utf8_is_told(tmp_path, read, draw):
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    draw(tmp_path / "dog" / "0.png").rename(tmp_path / os.fsdecode(b"caf\xe9") / "0.png")
    draw(tmp_path / "dog" / "0.png")
    with pytest.raises(DataError, match=r"the name b'caf\\xe9/0\.png' is not UTF-8; rename it"):
        read(tmp_path)


def test_images_in_no_class_folder_are_told(tmp_path, read, draw, folder_tree, capsys):
    """As those of a val that has its classes in a file."""
    root = folder_tree(tmp_path / "set", ("train",))
    draw(root / "val" / "0.JPEG"), draw(root / "val" / "1.JPEG")
    (root / "val.csv").touch()
    assert set(read(root).part.tolist()) == {"train"}
    assert capsys.readouterr().err == (
        f"{root / 'val'}: left out: 2 images in no class folder; if val.csv has the labels, give it as data.source\n"
        f"{root / 'val.csv'}: is not read; if it has the labels, give it as data.source\n"
    )


def test_a_folder_too_high_is_told(tmp_path, read, folder_tree, capsys):
    folder_tree(tmp_path / "set" / "photos", (".",))
    assert read(tmp_path / "set").classes == ("photos",)
    assert capsys.readouterr().err == (
        f"{tmp_path / 'set' / 'photos'}: is taken for the only class; if cat, ... are classes, give it as data.source\n"
    )


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("S2A_MSIL2A_20170613T101031_0_45/S2A_MSIL2A_20170613T101031_0_45_B01.tif", "BigEarthNet"),
        ("train/labels/0.txt", "boxes for YOLO"),
        ("patient00001/study1/view1_frontal.jpg", "CheXpert"),
    ],
)
def test_published_folders_are_no_classes(tmp_path, read, file, name):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    with pytest.raises(DataError, match=rf"looks like {name}, so its folders are no classes; give .* as data\.source"):
        read(tmp_path)


def test_a_table_without_labels_beside_class_folders_is_none(folder_tree, tmp_path, read):
    root = folder_tree(tmp_path / "photos")
    (root / "train" / "metadata.csv").write_text("file_name,camera\ncat/0.png,Leica\n")
    assert read(root).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train.csv", "0.jpg"], r"no class folders; .*; if train\.csv has the labels, give it as data\.source$"),
        (
            ["train.csv", "train_images/0.jpg", "test_images/1.jpg"],
            "test_images, train_images look like no classes; if tr",
        ),
        (
            ["labels.parquet", "images/0.jpg"],
            r"images look like no classes; if labels\.parquet has the labels, give it",
        ),
        (
            ["test/metadata.csv", "test/0.jpg"],
            r"has test, but no train/CLASS/.*; if test/metadata\.csv has the labels",
        ),
    ],
)
def test_folders_beside_a_table_are_no_classes(tmp_path, read, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        read(tmp_path)
