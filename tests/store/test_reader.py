"""Stores are read at random places; files that are not whole, or of another store, are refused in one line."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from tests.helpers.store_factory import VIEWS, make_store

from labelwise.data.dataset import sample_keys
from labelwise.errors import DataError
from labelwise.store.header import HEADER, first_difference, read_header
from labelwise.store.reader import Store
from labelwise.store.shard import Shard, shard_name


@pytest.mark.parametrize("sizes", [(12,), (5, 5, 2), (1,) * 12])
@pytest.mark.parametrize("mass", [None, 0.9])
def test_any_crop_is_read_from_its_place(tmp_path, sizes, mass):
    ids, labels, boxes = make_store(tmp_path, sizes, mass=mass)
    store = pickle.loads(pickle.dumps(Store(tmp_path)))
    rng = np.random.default_rng(0)
    rows, views = rng.integers(0, 12, 64), rng.integers(0, VIEWS, 64)
    places = store.places(sample_keys(ids[rows]))
    np.testing.assert_array_equal(places, rows)
    found, crops = store.read(places, views), rows * VIEWS + views
    for name in ("top", "left", "height", "width", "flip"):
        np.testing.assert_array_equal(getattr(found.boxes, name), getattr(boxes, name)[crops])
    kept = np.isfinite(found.labels.values)
    assert kept.all() == (mass is None)
    assert kept[:, 0].all()
    width = found.labels.values.shape[1]
    np.testing.assert_array_equal(found.labels.ids[kept], labels.ids[crops][:, :width][kept])
    np.testing.assert_allclose(found.labels.values[kept], labels.values[crops][:, :width][kept], rtol=2e-3)


def test_unknown_samples_have_no_place_and_nothing_is_read_of_nothing(tmp_path):
    ids, _, _ = make_store(tmp_path)
    store = Store(tmp_path)
    np.testing.assert_array_equal(store.places(sample_keys(["image-1-é", "other"])), [1, -1])
    assert len(store.read(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))) == 0
    np.testing.assert_array_equal(np.concatenate([shard.ids() for shard in store.shards]), ids)


def test_every_flipped_byte_of_a_shard_is_found(tmp_path):
    make_store(tmp_path)
    file = tmp_path / shard_name(1)
    whole = file.read_bytes()
    header = read_header(tmp_path)
    Shard(file, header.layout, header.hash, VIEWS).check()
    for place in np.linspace(0, len(whole) - 1, 60).astype(int):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        file.write_bytes(broken)
        with pytest.raises(DataError, match=shard_name(1)):
            Shard(file, header.layout, header.hash, VIEWS).check()


def test_shards_that_are_missing_cut_or_of_another_store_are_refused(tmp_path):
    make_store(tmp_path / "one")
    make_store(tmp_path / "other", k=5)
    last = tmp_path / "one" / shard_name(2)
    whole = last.read_bytes()
    for content, words in (
        (None, "is missing"),
        (whole[:-7], "cut or damaged"),
        (b"", "no shard"),
        (b"x" * 90, "no shard"),
        ((tmp_path / "other" / shard_name(2)).read_bytes(), "another store"),
    ):
        last.unlink(missing_ok=True)
        if content is not None:
            last.write_bytes(content)
        with pytest.raises(DataError, match=words) as error:
            Store(tmp_path / "one")
        assert "00002.bin" in str(error.value) and "\n" not in str(error.value)


def test_headers_say_what_is_wrong_with_them(tmp_path):
    with pytest.raises(DataError, match="is no store"):
        read_header(tmp_path)
    make_store(tmp_path)
    content = json.loads((tmp_path / HEADER).read_text())
    for change, words in (({"format": "labelwise-store-9"}, "labelwise-store-9"), ({"k": "many"}, "k: ")):
        (tmp_path / HEADER).write_text(json.dumps(content | change))
        with pytest.raises(DataError, match=words):
            read_header(tmp_path)
    (tmp_path / HEADER).write_text(json.dumps(content))
    header = read_header(tmp_path)
    assert first_difference(header, header) is None
    assert first_difference(header, header.model_copy(update={"seed": 8})) == "seed (7, now 8)"
    assert header.view_config().number == VIEWS
