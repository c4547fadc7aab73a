"""The labels of a store are those of its networks on its crops, whoever makes which shard, in any order, and again."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from labelwise.config import ModelConfig
from labelwise.data.counter_rng import uniforms
from labelwise.data.readers import load_dataset
from labelwise.data.views import draw_boxes, feature_masks
from labelwise.errors import DataError, ModelError
from labelwise.half_files import half_of
from labelwise.labelling.run import label, prepare
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.results import read_results_as
from labelwise.results.label import LabelResults
from labelwise.sharding.part import Part
from labelwise.store.reader import Store
from labelwise.store.shard import hash_of, shard_name


def make(request, out: Path, part: Part = Part()) -> LabelResults | None:  # noqa: B008
    return label(prepare(request, out, part), quiet=True)


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir() if path.suffix == ".bin" or path.stem == "store"}


def crop_labels(request, row: int, number: int) -> np.ndarray:
    """Probabilities (K,) of one crop, by drawing, cropping and asking one at a time."""
    dataset = load_dataset(request.recipe.data)
    image = dataset.source.read(row)
    height, width = (np.array([n]) for n in image.shape[:2])
    box = draw_boxes(request.recipe.views, 3, dataset.keys[row : row + 1], np.array([number]), height, width)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)
    pixels = pixels if dataset.in_files else pixels.float()
    place = (int(x[0]) for x in (box.top, box.left, box.height, box.width))
    crop = tv.resized_crop(pixels, *place, [8, 8], antialias=True)
    crop = (crop.flip(-1) if box.flip[0] else crop).float() / 255
    total = np.zeros(dataset.num_classes)
    for model in request.models:
        net, _ = checkpoint.load(Path(model))
        order = [net.classes.index(name) for name in dataset.classes]
        total += torch.softmax(net.eval()(crop[None]), 1)[0, order].detach().double().numpy()
    return total / len(request.models)


@pytest.mark.parametrize("source", ["arrays", "photos"])
def test_labels_are_those_of_the_networks_on_the_crops(request, source, request_for, network, tmp_path) -> None:
    models = (network(0), network(1, ("elk", "ant", "dog", "cat", "bee")))
    asked = request_for(request.getfixturevalue(source), models=models, settings=("data.workers=0",))
    made = make(asked, tmp_path / "store")
    store = Store(tmp_path / "store")
    dataset = load_dataset(asked.recipe.data)
    rows = dataset.rows("fit")
    assert made.samples == len(rows) and made.crops == 3 * len(rows) and made.shards == -(-len(rows) // 30)
    for place, number in itertools.product((0, 7, len(rows) - 1), range(3)):
        found = store.read(np.array([place]), np.array([number])).labels
        p = crop_labels(asked, int(rows[place]), number)
        best = np.argsort(-p)[:3]
        assert found.ids[0].tolist() == best.tolist()
        np.testing.assert_allclose(np.exp(found.values[0]), p[best], rtol=2e-3)
    assert made.mean_mass is not None and made.mean_classes == 3


def test_multi_label_answers_are_log_odds_of_the_mean(request_for, network, tmp_path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8), rng.integers(0, 2, (40, 5)).astype(np.float32)
    names = np.array(["ant", "bee", "cat", "dog", "elk"])
    np.savez(tmp_path / "many.npz", images=images, label=labels, categories=names, split=np.repeat("fit", 40))
    models = tuple(network(seed, task="multi-label") for seed in (0, 1))
    asked = request_for(tmp_path / "many.npz", models=models, k=None)
    make(asked, tmp_path / "store")
    store = Store(tmp_path / "store")
    assert store.header.task == "multi-label" and store.header.k == 5
    rows = load_dataset(asked.recipe.data).rows("fit")
    read = store.read(np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64))
    loaded = [checkpoint.load(Path(model))[0].eval() for model in models]
    for place in (0, len(rows) - 1):
        box = [int(x[place]) for x in (read.boxes.top, read.boxes.left, read.boxes.height, read.boxes.width)]
        crop = tv.resized_crop(
            torch.from_numpy(images[rows[place]]).permute(2, 0, 1).float(), *box, [8, 8], antialias=True
        )
        crop = (crop.flip(-1) if read.boxes.flip[place] else crop)[None] / 255
        p = torch.stack([torch.sigmoid(net(crop).double()) for net in loaded]).mean(0)[0].detach().numpy()
        np.testing.assert_allclose(read.labels.values[place], np.log(p / (1 - p)), rtol=2e-3, atol=2e-3)


def test_embeddings_drop_features_by_the_seed(request_for, tmp_path) -> None:
    rng = np.random.default_rng(0)
    values, names = rng.standard_normal((50, 6)).astype(np.float32), np.array(["a", "b", "c"])
    np.savez(tmp_path / "e.npz", features=values, label=np.arange(50) % 3, classes=names, split=np.repeat("fit", 50))
    net = zoo.build(ModelConfig(name="mlp"), ("a", "b", "c"), InputSpec("features", 6, 1, (0.0,) * 6, (1.0,)))
    checkpoint.save(tmp_path / "net", net, {})
    asked = request_for(tmp_path / "e.npz", models=(str(tmp_path / "net"),), k="all")
    make(asked, tmp_path / "store")
    store = Store(tmp_path / "store")
    assert not store.header.boxes and store.header.channels == 0
    dataset = load_dataset(asked.recipe.data)
    rows = dataset.rows("fit")
    number = np.full(len(rows), 2)
    mask = feature_masks(0.3, 3, dataset.keys[rows], number, 6)
    wanted = torch.log_softmax(net.eval()(torch.from_numpy(dataset.source.values[rows] * mask)), 1).detach().numpy()
    np.testing.assert_allclose(store.read(np.arange(len(rows)), number).labels.values, wanted, atol=2e-3)


def test_parts_in_any_order_twice_and_again_give_the_same_bytes(request_for, tmp_path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    asked = request_for(k="all", shard_samples=10)
    first = make(asked, whole)
    assert first.shards == 10
    assert make(asked, parts, Part(2, 3)) is None and not (parts / "results.json").exists()
    late = prepare(asked, parts, Part(1, 3))  # has seen nothing of what another process does meanwhile
    assert make(asked, parts, Part(1, 3)) is None
    assert label(late, quiet=True) is None
    with subprocess.Popen(["true"]) as ended:
        pass
    left = half_of(parts / shard_name(0)).name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    (parts / left).write_bytes(b"half")  # what a killed process left
    last = make(asked, parts, Part(0, 3))
    assert content(parts) == content(whole) and last.checksum == first.checksum
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in whole.iterdir())
    before = {path: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert make(asked, parts).checksum == first.checksum
    assert {path: path.stat().st_mtime_ns for path in parts.iterdir()} == before  # what is finished stays as it is
    assert read_results_as(parts, LabelResults).checksum == first.checksum


def test_a_damaged_shard_is_labelled_again(request_for, tmp_path, capsys) -> None:
    out = tmp_path / "store"
    make(request_for(), out)
    before = content(out)
    shard = bytearray(before[shard_name(1)])
    shard[len(shard) // 2] ^= 1
    (out / shard_name(1)).write_bytes(shard)
    (out / shard_name(3)).write_bytes(before[shard_name(3)][:-1])
    (out / shard_name(2)).unlink()
    capsys.readouterr()
    make(request_for(), out)
    assert content(out) == before
    said = capsys.readouterr().err
    assert f"{shard_name(1)}: is damaged and is labelled again" in said and shard_name(2) not in said


def test_other_seeds_give_other_crops_and_draws_match_the_generator(request_for, tmp_path) -> None:
    make(request_for(), tmp_path / "three")
    make(request_for(settings=("seed=4",)), tmp_path / "four")
    assert content(tmp_path / "three")[shard_name(0)] != content(tmp_path / "four")[shard_name(0)]
    flips = Store(tmp_path / "three").read(np.arange(100), np.ones(100, dtype=np.int64)).boxes.flip
    keys = load_dataset(request_for().recipe.data).keys[:100]
    assert flips.tolist() == (uniforms(3, "crop", keys, np.ones(100, dtype=np.int64), 41)[:, -1] < 0.5).tolist()


def test_probes_are_hashes_of_images(request_for, photos, tmp_path) -> None:
    asked = request_for(photos, settings=("data.workers=0",))
    make(asked, tmp_path / "store")
    dataset = load_dataset(asked.recipe.data)
    [shard] = Store(tmp_path / "store").shards
    assert len(set(shard.probes["crop"])) == 8
    for probe in shard.probes:
        image = dataset.source.read(int(dataset.rows("fit")[probe["crop"] // 3]))
        assert (probe["height"], probe["width"]) == image.shape[:2] and probe["image"] == hash_of(image)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"views": 4}, r"views_per_sample \(3, now 4\)"),
        ({"k": 2}, "k "),
        ({"settings": ("seed=5",)}, "seed "),
        ({"settings": ("views.scale=[0.5, 1]",)}, "views "),
        ({"settings": ("train.precision=bf16",)}, "autocast "),
        ({"settings": ("data.train_limit=90",)}, "samples "),
        ({"mass": 0.9}, "mass "),
        ({"precision": "uint8"}, "precision "),
    ],
)
def test_a_store_of_other_settings_is_refused_by_the_first_key(changes, key, request_for, tmp_path) -> None:
    make(request_for(), tmp_path / "store", Part(0, 4))
    before = content(tmp_path / "store")
    with pytest.raises(DataError, match=f"holds a store with another {key}"):
        make(request_for(**changes), tmp_path / "store")
    assert content(tmp_path / "store") == before


def test_other_folders_are_left_alone(request_for, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty and holds no store"):
        make(request_for(), tmp_path)
    with pytest.raises(DataError, match="is a file"):
        make(request_for(), tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_networks_that_cannot_label_the_data_are_refused(request_for, network, tmp_path) -> None:
    for models, error, words in (
        ((network(classes=("ant", "bee", "cat", "dog", "fox")),), ModelError, "lacks 'elk'"),
        ((network(task="multi-label"),), ModelError, "is multi-label"),
        ((str(tmp_path),), ModelError, "no checkpoint here"),
    ):
        with pytest.raises(error, match=words):
            prepare(request_for(models=models), tmp_path / "store")
    for changes, words in (
        ({"k": 6}, "k is 6, expected 1 to 5"),
        ({"split": "unlabelled"}, "no sample is in unlabelled"),
        ({"mass": 0.9, "k": "all"}, "mass must be"),
    ):
        with pytest.raises(DataError, match=words):
            prepare(request_for(**changes), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_nan_and_truncated_images_end_in_one_line(request_for, network, photos, tmp_path) -> None:
    folder = network(7)
    model, _ = checkpoint.load(Path(folder))
    next(model.net.parameters()).data.fill_(float("nan"))
    checkpoint.save(Path(folder), model, {})
    with pytest.raises(DataError, match="answers with NaN"):
        make(request_for(models=(folder,)), tmp_path / "nan")
    assert [path.name for path in (tmp_path / "nan").iterdir()] == ["store.json"]
    shutil.copytree(photos, tmp_path / "copy")
    broken = tmp_path / "copy" / "train" / "ant" / "0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    asked = request_for(tmp_path / "copy", settings=("data.workers=0",), shard_samples=5)
    with pytest.raises(DataError, match=r"0\.png: cannot be read"):
        make(asked, tmp_path / "broken")
