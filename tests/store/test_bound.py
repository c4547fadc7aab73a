"""Crops out of a store are those that were labelled, pixel for pixel, and a store is used with its own data alone."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.stored_labels import CPU, Crops, write_store

from labelwise.config import ViewConfig
from labelwise.data.dataset import Dataset, Features, ImageFiles, PixelArray
from labelwise.data.loaders import make_loader
from labelwise.data.sampling import BatchPlan
from labelwise.errors import ConfigError, DataError
from labelwise.labels.table import LabelTable
from labelwise.store.bound import bind, in_own_order, refuse_reuse, stored_views
from labelwise.store.reader import Store

N, SIDE, VIEWS = 20, 24, 4
ROWS = np.arange(2, N, 2)  # those that are labelled
RICH = ViewConfig(scale=(0.2, 0.9), rand_augment_ops=2, erasing=0.5, feature_dropout=0.4, interpolation="bicubic")


def make(source, classes=("a", "b", "c")) -> Dataset:
    ids = np.array([f"image-{i}" for i in range(N)])
    return Dataset("mine", classes, ids, ids, np.arange(N) % 3, np.full(N, "fit"), source)


PIXELS = np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(params=["memory", "files", "embeddings"])
def data(request, tmp_path: Path) -> Dataset:
    if request.param == "memory":
        return make(PixelArray(PIXELS))
    if request.param == "embeddings":
        return make(Features(np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)))
    paths = [tmp_path / f"{i}.png" for i in range(N)]
    for i, path in enumerate(paths):
        Image.fromarray(PIXELS[i, : SIDE - i % 5]).save(path)
    return make(ImageFiles(tuple(paths), 3))


def answer(batch):
    """Log-probabilities that tell the crops apart."""
    x = next(iter(batch.inputs.values())).flatten(1)
    return torch.log_softmax(torch.stack([x.mean(1), x.std(1), x[:, 0]], 1) * 5, dim=1)


def sizes(data: Dataset, size: int) -> tuple[int, ...]:
    return (6,) if data.is_features else (size,)


@pytest.mark.parametrize(("boxes", "workers"), [(True, 0), (False, 0), (True, 2)])
def test_crops_and_their_labels_come_back(data, tmp_path, boxes, workers):
    """At the size that was labelled and at another one, whatever seed is asked for, in any order."""
    boxes = boxes and not data.is_features
    own = sizes(data, 8)
    store = Store(write_store(tmp_path / "s", data, ROWS, answer, Crops(own, RICH, VIEWS), k=2, boxes=boxes))
    bound = bind(store, data, ROWS)
    labelled = Crops(own, RICH, VIEWS).of(data, ROWS)
    other = Crops(sizes(data, 13), RICH, VIEWS).of(data, ROWS)
    order = np.random.default_rng(1).permutation(len(ROWS) * VIEWS)
    plan = BatchPlan(ROWS.repeat(VIEWS)[order], np.tile(np.arange(VIEWS), len(ROWS))[order], epoch=3)
    loader = make_loader(data, RICH, CPU, workers).replaying(bound)
    both = tuple({*own, *sizes(data, 13)})
    for batch in loader.stream([plan, plan], both, 99):
        place = order // VIEWS * VIEWS + batch.numbers
        assert torch.equal(batch.inputs[own[0]], labelled.inputs[own[0]][place])
        size = sizes(data, 13)[0]
        assert torch.equal(batch.inputs[size], other.inputs[size][place])
        said, ids = answer(labelled)[place].topk(2, dim=1)
        torch.testing.assert_close(batch.labels.values, said, rtol=2e-3, atol=1e-4)
        assert torch.equal(batch.labels.ids, ids)
        assert batch.epoch == 3
        part = batch.split(3)[1]
        assert torch.equal(part.labels.ids, ids[len(batch.split(3)[0]) :][: len(part)])


def test_centre_views_are_those_of_any_loader(data, tmp_path):
    store = Store(write_store(tmp_path / "s", data, ROWS, answer, Crops(sizes(data, 8))))
    plain = make_loader(data, ViewConfig(), CPU)
    ours = plain.replaying(bind(store, data, ROWS))
    for a, b in zip(*(one.stream([BatchPlan(np.arange(N))], sizes(data, 8), 0) for one in (ours, plain)), strict=True):
        assert all(torch.equal(a.inputs[size], b.inputs[size]) for size in a.inputs) and a.labels is None


@pytest.mark.parametrize("views", [1, 2, 6, 7])
def test_every_pass_shows_every_view_once_in_an_order_of_its_own(views):
    keys = np.random.default_rng(0).integers(0, 2**63, 50, dtype=np.uint64)
    shown = np.stack([in_own_order(keys, np.full(50, n), views, 3) for n in range(3 * views)])
    for start in range(0, 3 * views, views):
        np.testing.assert_array_equal(
            np.sort(shown[start : start + views], axis=0), np.arange(views)[:, None] + 0 * shown[:views]
        )
    if views > 2:
        assert len({tuple(column[:views]) for column in shown.T}) > 4  # samples differ
        assert (shown[:views] != shown[views : 2 * views]).any(0).mean() > 0.5  # and passes
    np.testing.assert_array_equal(shown[2], in_own_order(keys, np.full(50, 2), views, 3))


def test_another_process_reads_the_same(data, tmp_path):
    store = Store(write_store(tmp_path / "s", data, ROWS, answer, Crops(sizes(data, 8)), boxes=False))
    bound = bind(store, data, ROWS, views=2, order=7)
    other = pickle.loads(pickle.dumps(bound))
    for a, b in zip(vars(bound.replay(ROWS, ROWS)).values(), vars(other.replay(ROWS, ROWS)).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert bound.replay(ROWS, ROWS).numbers.max() == 1


def test_other_data_are_refused_in_one_line(tmp_path):
    data = make(PixelArray(PIXELS))
    store = Store(write_store(tmp_path / "s", data, ROWS, answer, Crops((8,))))

    def refused(words: str, other: Dataset, rows=ROWS) -> None:
        with pytest.raises(DataError, match=words) as error:
            bind(store, other, rows)
        assert "\n" not in str(error.value) and str(store.folder) in str(error.value)

    refused("another order; class 1 is 'b', here 'c'", replace(data, classes=("a", "c", "b")))
    refused("has 3 classes, mine has 2; 'c' is one of the store alone", replace(data, classes=("a", "b")))
    refused("'d' is one of mine alone", replace(data, classes=("a", "b", "d")))
    refused("views of images, mine has embeddings", make(Features(np.zeros((N, 4), dtype=np.float32))))
    refused("3 channels, those of mine have 1", make(PixelArray(PIXELS[..., :1])))
    table = LabelTable.from_wire(np.zeros((N, 3)), ["a", "b", "c"])
    refused("single-label data, mine is multi-label", replace(data, table=table, label=np.full(N, -1)))
    refused("lacks 2 of 11 samples .* the first is 'image-1'", data, np.r_[ROWS, 1, 3])
    changed = PIXELS.copy()
    changed[ROWS[0], 0, 0] ^= 1
    refused("made with another image of 'image-2'", make(PixelArray(changed)))


def test_views_that_are_set_otherwise_are_refused_and_others_come_from_the_store(tmp_path):
    data = make(PixelArray(PIXELS))
    header = Store(write_store(tmp_path / "s", data, ROWS, answer, Crops((8,), RICH))).header
    found = stored_views(header, ViewConfig(mixup=0.2, erasing=0.5), "store s")
    assert (found.scale, found.interpolation, found.mixup, found.erasing) == ((0.2, 0.9), "bicubic", 0.2, 0.5)
    assert found.rand_augment_ops == 2 and found.number is None
    assert stored_views(header, found, "store s") == found  # a second time, too
    assert stored_views(header, ViewConfig(feature_dropout=0.1), "s").feature_dropout == 0.4  # images have none
    for key, value in (("scale", (0.5, 1.0)), ("interpolation", "bilinear"), ("flip", False), ("erasing", 0.0)):
        with pytest.raises(ConfigError, match=rf"views.{key}: .* but the crops of store s were made with"):
            stored_views(header, ViewConfig(**{key: value}), "store s")
    with pytest.raises(ConfigError, match=r"views\.number: 9, but store s has 3 views"):
        stored_views(header, ViewConfig(number=9), "store s")


def test_a_view_is_shown_twice_only_if_the_recipe_lets_it():
    refuse_reuse(3, 3, "stop", "s")
    refuse_reuse(3, 30, "cycle", "s")
    with pytest.raises(ConfigError, match="would show 4 views of a sample, s has 3"):
        refuse_reuse(3, 3.5, "stop", "s")
    with pytest.raises(ConfigError, match="would show any number of views"):
        refuse_reuse(3, np.inf, "stop", "s")
