"""Samples without a label: those of the data, those whose labels are set aside, and further ones beside the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.data import data_config
from labelwise.config import load_recipe
from labelwise.data.dataset import Features, JoinedImages, PixelArray, Samples
from labelwise.data.folds import folds_of
from labelwise.data.loaders import make_loader
from labelwise.data.sampling import Shard, plan_evaluation
from labelwise.data.splits import prepare
from labelwise.errors import ConfigError, DataError
from labelwise.labels.table import UNKNOWN
from labelwise.refinery.checks import prepare as prepare_run

N = 60


def samples(label: list[int], groups: list[int] | None = None) -> Samples:
    n = len(label)
    return Samples(
        "made",
        ("a", "b", "c"),
        np.array([f"s{i}" for i in range(n)]),
        np.array(label),
        np.full(n, ""),
        Features(np.arange(n, dtype=np.float32)[:, None]),
        None if groups is None else np.array([f"g{group}" for group in groups]),
    )


def split(found: Samples, partial: bool = False, **options: object) -> object:
    return prepare(found, data_config(options), partial=partial)


def test_training_samples_without_a_label_have_a_split_of_their_own():
    label = [i % 3 if i % 4 else -1 for i in range(N)]
    dataset = split(samples(label))
    bare = dataset.rows("unlabelled")
    assert dataset.ids[bare].tolist() == [f"s{i}" for i in range(0, N, 4)]
    assert (
        (dataset.label >= 0).sum() == N - len(bare) == sum(dataset.sizes()[part] for part in ("fit", "select", "test"))
    )
    assert dataset.sizes()["unlabelled"] == len(bare)
    assert (folds_of(dataset, 3, 0)[bare] == -1).all()
    inside = split(samples(label), partial=True)
    assert "unlabelled" not in inside.sizes() and (inside.label < 0).sum() == len(bare)


def test_an_unlabelled_sample_of_a_held_out_group_is_left_out():
    label = [i % 3 if i % 2 else -1 for i in range(N)]
    dataset = split(samples(label, [i // 2 for i in range(N)]), test_share=0.3)
    held_out = dataset.groups[np.isin(dataset.split, ["select", "test"])]
    bare = dataset.groups[dataset.rows("unlabelled")]
    assert len(held_out) and len(bare) == N // 2 - len(held_out)
    assert not set(bare) & set(held_out)


def test_labels_of_some_samples_are_set_aside_by_class_and_group():
    found = samples([i // 2 % 3 for i in range(N)], [i // 2 for i in range(N)])
    whole, few, fewer = (split(found, labelled=labelled) for labelled in (None, 12, 6))
    for dataset, count in ((few, 12), (fewer, 6)):
        assert dataset.sizes() == whole.sizes() | {"fit": count, "unlabelled": whole.sizes()["fit"] - count}
        assert np.bincount(dataset.label[dataset.rows("fit")]).tolist() == [count // 3] * 3
        assert (dataset.label[dataset.rows("unlabelled")] == -1).all()
        assert not set(dataset.groups[dataset.rows("fit")]) & set(dataset.groups[dataset.rows("unlabelled")])
    assert set(fewer.ids[fewer.rows("fit")]) < set(few.ids[few.rows("fit")])
    assert len({dataset.fingerprint() for dataset in (whole, few, fewer)}) == 3
    with pytest.raises(DataError, match=r"data\.labelled: 1 is less than one group"):
        split(found, labelled=1)


def test_multi_label_samples_lose_all_labels(digit_attributes: Path, load):
    whole, few = load(digit_attributes), load(digit_attributes, labelled=100, known={"protocol": "cells", "share": 0.5})
    bare = few.rows("unlabelled")
    assert few.sizes()["fit"] == 100 and len(bare) == whole.sizes()["fit"] - 100
    assert (few.table.source[bare] == UNKNOWN).all() and few.table.known[few.rows("fit")].any(axis=0).all()
    assert few.true_table.known[bare].any()
    inside = load(digit_attributes, partial=True, labelled=100)
    assert inside.sizes() == whole.sizes() and inside.table.known[inside.rows("fit")].any(axis=1).sum() <= 100


# beside the data


@pytest.mark.parametrize("memory", ["auto", "no"])
def test_images_of_a_folder_at_any_depth(tmp_path, folder_tree, draw, load, memory):
    root = folder_tree(tmp_path / "data")
    for place in ("0.png", "deep/er/1.png", "2.png"):
        draw(tmp_path / "more" / place)
    alone = load(root, memory=memory)
    dataset = load(root, memory=memory, unlabelled=str(tmp_path / "more"))
    bare = dataset.rows("unlabelled")
    assert dataset.ids[bare].tolist() == ["unlabelled/0.png", "unlabelled/2.png", "unlabelled/deep/er/1.png"]
    assert dataset.sizes() == alone.sizes() | {"unlabelled": 3} and (dataset.label[bare] == -1).all()
    assert isinstance(dataset.source, PixelArray if memory == "auto" else JoinedImages)
    for split in ("fit", "select", "test"):
        assert dataset.ids[dataset.rows(split)].tolist() == alone.ids[alone.rows(split)].tolist()
    views = load_recipe(None, ["views.flip=false"]).views
    (batch,) = make_loader(dataset, views, torch.device("cpu")).stream(plan_evaluation(bare[1:], 8, Shard()), (6,), 0)
    shown = batch.inputs[6][0].permute(1, 2, 0) * 255
    np.testing.assert_allclose(shown, dataset.source.read(int(bare[1])), atol=0.6)
    assert alone.fingerprint() != dataset.fingerprint()


def test_what_the_data_have_already_is_left_out(tmp_path, folder_tree, draw, load, capsys):
    root = folder_tree(tmp_path / "data")
    draw(root / "spare" / "new.png")
    spare = load(root, unlabelled=str(root))
    assert spare.ids[spare.rows("unlabelled")].tolist() == ["unlabelled/spare/new.png"]
    assert "of 17 samples 16 are in the data already and 0 more" in capsys.readouterr().err
    with pytest.raises(DataError, match="every sample in it is in the data already"):
        load(root, unlabelled=str(root / "val"))


def test_a_table_of_paths_with_groups(tmp_path, draw, load, capsys):
    rows = [f"{i}.png,{'ab'[i % 2]},{'train' if i < 8 else 'test'},p{i}" for i in range(12)]
    (tmp_path / "data.csv").write_text("path,label,split,patient\n" + "\n".join(rows))
    (tmp_path / "more.csv").write_text("path,patient\n0.png,p0\n20.png,p9\n21.png,p1\n22.png,\n")
    for i in (*range(12), 20, 21, 22):
        draw(tmp_path / f"{i}.png")
    dataset = load(tmp_path / "data.csv", group_column="patient", unlabelled=str(tmp_path / "more.csv"), select_share=0)
    bare = dataset.rows("unlabelled")
    assert dataset.ids[bare].tolist() == ["unlabelled/21.png", "unlabelled/22.png"]
    assert dataset.groups[bare].tolist() == ["p1", "22.png"]
    assert "of 4 samples 1 are in the data already and 1 more are of groups" in capsys.readouterr().err


def test_files_of_arrays(tmp_path, npz, load, capsys):
    draw = np.random.default_rng(0)
    images, features = (
        draw.integers(0, 256, (30, 5, 5, 3), dtype=np.uint8),
        draw.normal(size=(30, 4)).astype(np.float32),
    )
    label, ids = np.arange(20) % 2, np.array([f"i{i}" for i in range(30)])
    data = npz(tmp_path / "images.npz", images=images[:20], label=label, ids=ids[:20])
    more = npz(tmp_path / "more.npz", images=images[18:], ids=ids[18:], features=features[18:])
    found = load(data, unlabelled=str(more))
    np.testing.assert_array_equal(found.source.pixels[found.rows("unlabelled")], images[20:])
    assert "of 12 samples 2 are in the data already" in capsys.readouterr().err
    embedded = npz(tmp_path / "features.npz", features=features[:20], label=label)
    found = load(embedded, unlabelled=str(more))
    np.testing.assert_array_equal(found.source.values[found.rows("unlabelled")], features[18:])


def test_what_does_not_fit_is_refused(tmp_path, npz, load):
    label, zeros = np.arange(20) % 2, np.zeros
    images = npz(tmp_path / "images.npz", images=zeros((20, 5, 5), dtype=np.uint8), label=label)
    features = npz(tmp_path / "features.npz", features=zeros((20, 4)), label=label)
    wide = npz(tmp_path / "wide.npz", images=zeros((3, 5, 8), dtype=np.uint8))
    short = npz(tmp_path / "short.npz", features=zeros((3, 2)))
    (tmp_path / "empty").mkdir()
    for data, more, message in (
        (images, wide, "images of 8x5 px, those of the data have 5x5; resize them"),
        (features, short, "embeddings of 2 numbers, those of the data have 4"),
        (images, short, "holds embeddings, images holds images"),
        (features, tmp_path, "short|empty|no images in it"),
        (images, tmp_path / "empty", "empty: no images in it"),
        (images, tmp_path / "nowhere", "nowhere.*no such folder or file"),
    ):
        with pytest.raises(DataError, match=message):
            load(data, unlabelled=str(more))


def test_a_chain_that_cannot_learn_from_them_refuses_them(tmp_path):
    changes = ["data={source: digits, train_limit: 200, labelled: 50}"]
    with pytest.raises(ConfigError, match="no network has a refinery to label the 130 unlabelled samples"):
        prepare_run(load_recipe(None, [*changes, "chain.generations=1"]))
    recipe = load_recipe(None, [*changes, "chain.refined={per: category}"])
    with pytest.raises(ConfigError, match="per category: an unlabelled image is of no given class"):
        prepare_run(recipe)
    np.savez(tmp_path / "f.npz", features=np.eye(20), label=np.arange(20) % 2)
    few = load_recipe(None, [f"data={{source: '{tmp_path}/f.npz', labelled: 8}}", "model.name=lda"])
    with pytest.raises(ConfigError, match="lda: it is fitted in closed form to labelled samples; set"):
        prepare_run(few)
    with pytest.raises(ConfigError, match=r"chain\.unlabelled: digits has no unlabelled samples"):
        prepare_run(load_recipe(None, ["data.source=digits", "chain.unlabelled.share=0.3"]))
